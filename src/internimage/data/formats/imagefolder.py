"""Objects as Hugging Face's ``imagefolder`` has them: ``objects`` with ``bbox`` (x, y, width, height), categories."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from internimage.data.formats.gathering import DrawnPicture, Gathering, settled
from internimage.data.formats.imagefolder_file import Row, has_objects, metadata_files, read_rows
from internimage.data.formats.pictures import PictureFinder
from internimage.data.formats.shapes import BadEntryError, number, short
from internimage.data.objects import ObjectImages
from internimage.settings.data import DataOptions

_CATEGORIES = ("categories", "category", "label", "labels", "class")


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
    numbered = all(label.isdecimal() for part in gathered.values() for label in part.labels())
    classes = None
    if numbered:  # the names are in the features of the hub's data set, which no file here has
        used = set().union(*(part.labels() for part in gathered.values()))
        classes = [str(index) for index in range(max(map(int, used), default=-1) + 1)]
        for part in gathered.values():
            part.notes.append("classes are called by their numbers: the metadata have no names")
    return settled(gathered, wanted, options, classes, first=0 if numbered else 1)


def _read_picture(part: Gathering, row: Row) -> None:
    picture = part.find(row.columns.get("file_name"))
    for index, (box, label) in enumerate(_objects(row.columns.get("objects"))):
        with part.entry("objects", f"{row.where} objects[{index}]"):
            _read_object(part, picture, box, label)


def _objects(objects: Any) -> list[tuple[Any, Any]]:
    """Boxes and categories, from lists of both, or from a list of objects."""
    if objects is None:
        return []
    if isinstance(objects, list) and all(isinstance(one, Mapping) for one in objects):
        return [(one.get("bbox"), next((one[key] for key in _CATEGORIES if key in one), None)) for one in objects]
    if not isinstance(objects, Mapping):
        raise BadEntryError(f"objects is {short(objects)}; expected bbox and categories")
    boxes, labels = objects.get("bbox"), next((objects[key] for key in _CATEGORIES if key in objects), None)
    if not isinstance(boxes, list) or not isinstance(labels, list) or len(boxes) != len(labels):
        raise BadEntryError(f"objects is {short(objects)}; expected as many bbox as categories")
    return list(zip(boxes, labels, strict=True))


def _read_object(part: Gathering, picture: DrawnPicture, box: Any, label: Any) -> None:
    if not isinstance(box, list) or len(box) != 4:
        raise BadEntryError(f"bbox is {short(box)}; expected x, y, width and height in pixels")
    x, y, width, height = (number(value, "bbox") for value in box)
    part.add(picture, str(label) if type(label) is int else label, (x, y, x + width, y + height))
