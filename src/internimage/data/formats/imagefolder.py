"""Objects as Hugging Face's ``imagefolder`` has them: ``objects`` with ``bbox`` (x, y, width, height), categories."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from internimage.data.formats.gathering import Gathering, settled
from internimage.data.formats.imagefolder_file import Row, has_objects, metadata_files, read_rows
from internimage.data.formats.pictures import PictureFinder
from internimage.data.formats.shapes import BadEntryError, Box, number, short
from internimage.data.objects import ObjectImages
from internimage.settings.data import DataOptions

_DIGITS = 5  # of numbers that are classes
_CATEGORIES = ("categories", "category", "label", "labels", "class", "category_id")


def recognise(root: Path) -> bool:
    """Whether there are metadata with objects."""
    return has_objects(root) is True


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    files = metadata_files(root)
    train = [file for file in files if file[1] == "train"] or files
    return min(most, sum(1 for file, part in train for _ in read_rows(file, part)))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """The parts of a data set, by folders that are called after parts.

    Raises:
        DataError: entries contradict the format.
        MissingExtraError: metadata are parquet, and pyarrow is not installed.
    """
    gathered: dict[str, Gathering] = {}
    for file, folder_part in metadata_files(root):
        finder = PictureFinder([file.parent], file.parent)
        for row in read_rows(file, folder_part):
            name = f"{root} ({row.part})" if row.part != "all" else str(root)
            part = gathered.setdefault(row.part, Gathering(name, "imagefolder", finder))
            part.finder = finder
            with part.entry("pictures", row.where):
                _read_picture(part, row)
    classes = numbered_classes(gathered)
    return settled(gathered, wanted, options, classes, first=1 if classes is None else 0)


def numbered_classes(gathered: Mapping[str, Gathering]) -> list[str] | None:
    """The numbers that classes are called by, as many as there are; None where they have names."""
    used = set().union(*(part.labels() for part in gathered.values()))
    if not all(label.isdecimal() and len(label) <= _DIGITS for label in used):
        return None
    for part in gathered.values():  # the names are in the features of the hub's data set, which no file here has
        part.notes.append("classes are called by their numbers: the data have no names")
    return [str(index) for index in range(max(map(int, used), default=-1) + 1)]


def objects_in(objects: Any) -> list[dict[str, Any]]:
    """``bbox``, ``label`` and whatever else each object has: from lists of each, or from a list of objects.

    Raises:
        BadEntryError: it is neither.
    """
    if objects is None:
        return []
    if isinstance(objects, list) and all(isinstance(one, Mapping) for one in objects):
        return [{**one, "bbox": one.get("bbox"), "label": _label(one)} for one in objects]
    if not isinstance(objects, Mapping):
        raise BadEntryError(f"objects is {short(objects)}; expected bbox and categories")
    boxes, labels = objects.get("bbox"), _label(objects)
    if not isinstance(boxes, list) or not isinstance(labels, list) or len(boxes) != len(labels):
        raise BadEntryError(f"objects is {short(objects)}; expected as many bbox as categories")
    return [{"bbox": box, "label": label} for box, label in zip(boxes, labels, strict=True)]


def box_in(box: Any) -> Box:
    """x1, y1, x2, y2 of x, y, width and height.

    Raises:
        BadEntryError: it is none.
    """
    if not isinstance(box, list) or len(box) != 4:
        raise BadEntryError(f"bbox is {short(box)}; expected x, y, width and height in pixels")
    x, y, width, height = (number(value, "bbox") for value in box)
    return x, y, x + width, y + height


def _label(one: Mapping[str, Any]) -> Any:
    return next((one[key] for key in _CATEGORIES if key in one), None)


def _read_picture(part: Gathering, row: Row) -> None:
    picture = part.find(row.columns.get("file_name"))
    for index, one in enumerate(objects_in(row.columns.get("objects"))):
        with part.entry("objects", f"{row.where} objects[{index}]"):
            label = one["label"]
            part.add(picture, str(label) if type(label) is int else label, box_in(one["bbox"]))
