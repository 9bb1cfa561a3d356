"""Objects as Pascal VOC's XML describes them, a file a picture, as VOC, labelImg, Roboflow and CVAT write it.

Format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/.  Corners are pixels counted from 1, both in the box, so
that a box over the whole picture is 1, 1, width, height: here x1 - 1, y1 - 1, x2, y2, as Detectron2 and torchvision's
reference code for VOC take it.  CVAT and others write edges instead, counted from 0.  A data set in which any corner
is not whole, or less than 1, is one of edges, and read as it stands; the notes say which was taken.

``difficult`` objects are neither learnt nor missed, as in VOC's own evaluation: they are crowds here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from internimage.data.formats.documents import read_text, read_xml
from internimage.data.formats.gathering import Gathering, settled
from internimage.data.formats.mask_folders import find_layout
from internimage.data.formats.parts import part_named
from internimage.data.formats.places import (
    Neighbours,
    annotation_files,
    files_in,
    holds,
    picture_finder,
    root_element,
    some_files,
)
from internimage.data.formats.shapes import BadEntryError, number
from internimage.data.objects import ObjectImages
from internimage.errors import DataError
from internimage.settings.data import DataOptions

_LISTS = "ImageSets/Main"
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_FROM_ONE = "corners of boxes are pixels counted from 1, as VOC defines them"
_FROM_ZERO = "corners of boxes are edges counted from 0: some are 0, or not whole"


class _Object(NamedTuple):
    """Class, xmin, ymin, xmax, ymax as they are written (None without a box), and whether it is difficult."""

    label: str
    edges: tuple[str | None, ...] | None
    difficult: bool


class _Entry(NamedTuple):
    """One picture: its XML file, its part, its name and size there, its objects, and what is wrong with the file."""

    file: Path
    part: str
    picture: str
    size: tuple[int, int] | None
    objects: tuple[_Object, ...]
    wrong: str = ""


def recognise(root: Path) -> bool:
    """Whether there are VOC's XML files with boxes; known sets of masks that have such files too are read as masks."""
    if root.is_dir() and find_layout(root) is not None:
        return False
    return any(root_element(file) == "annotation" and holds(file, b"<bndbox>") for file in some_files(root, ".xml"))


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    lists = _lists(root)
    if "train" in lists:
        return min(most, len(lists["train"]))
    files = list(annotation_files(root, ".xml"))
    return min(most, sum(part == "train" for _, part in files) or len(files))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """The parts of a data set as they lie there: by ``ImageSets/Main``, or by folders called after parts.

    Raises:
        DataError: a file is no XML, or entries contradict the format.
    """
    return settled(gather(root), wanted, options)


def gather(root: Path, *, from_one: bool | None = None) -> dict[str, Gathering]:
    """What is drawn on the pictures of each part.

    Args:
        root: of the data.
        from_one: whether corners are counted from 1; None to tell by all of them.

    Raises:
        DataError: a file is no XML, or entries contradict the format.
    """
    lists = _lists(root)
    entries = []
    for file, part in annotation_files(root, ".xml"):
        if root_element(file) == "annotation":
            listed = [name for name, stems in lists.items() if file.stem in stems]
            entries += [_entry(file, name) for name in listed or ([] if lists else [part or "all"])]
    if not entries:
        raise DataError(f"{root}: none of the names in {_LISTS} has an XML file")
    from_one = _counts_from_one(entries) if from_one is None else from_one
    neighbours = Neighbours()
    gathered: dict[str, Gathering] = {}
    for entry in entries:
        if entry.part not in gathered:
            name = f"{root} ({entry.part})" if entry.part != "all" else str(root)
            part_found = Gathering(name, "Pascal VOC", picture_finder(root, entry.part))
            gathered[entry.part] = part_found
            part_found.notes.append(_FROM_ONE if from_one else _FROM_ZERO)
        _read_picture(gathered[entry.part], entry, neighbours.find(entry.file), float(from_one))
    for name, part_found in gathered.items():
        for stem in sorted(lists.get(name, set()) - {entry.file.stem for entry in entries if entry.part == name}):
            part_found.leave_out(f"named in {_LISTS} and without an .xml", stem, "pictures")
    return gathered


def _entry(file: Path, part: str) -> _Entry:
    try:
        content = read_xml(file)
    except DataError as error:
        return _Entry(file, part, file.stem, None, (), str(error))
    objects = []
    for element in content.iterfind("object"):
        box = element.find("bndbox")
        edges = None if box is None else tuple(box.findtext(edge) for edge in _EDGES)
        difficult = (element.findtext("difficult") or "").strip().lower() in ("1", "true")
        objects.append(_Object((element.findtext("name") or "").strip(), edges, difficult))
    name = (content.findtext("filename") or "").strip().replace("\\", "/")
    name = name if Path(name).suffix else file.stem  # labelImg leaves the suffix out
    return _Entry(file, part, name, _size(content), tuple(objects))


def _read_picture(part: Gathering, entry: _Entry, beside: Path | None, shift: float) -> None:
    with part.entry("pictures", str(entry.file)):
        if entry.wrong:
            raise DataError(entry.wrong)
        picture = part.add_picture(beside, entry.size) if beside else part.find(entry.picture, entry.size)
        for index, one in enumerate(entry.objects):
            where = f"{entry.file} object[{index}]"
            with part.entry("objects", where):
                if one.edges is None:
                    part.leave_out("objects without a box (bndbox)", where)
                    continue
                x1, y1, x2, y2 = (number(value, edge) for value, edge in zip(one.edges, _EDGES, strict=True))
                if x2 < x1 or y2 < y1:
                    raise BadEntryError(
                        f"its corners are {x1:g}, {y1:g} and {x2:g}, {y2:g}; expected the smaller first"
                    )
                part.add(picture, one.label, (x1 - shift, y1 - shift, x2, y2), None, one.difficult)


def _counts_from_one(entries: Sequence[_Entry]) -> bool:
    """Whether all corners are whole numbers from 1 on."""
    for value in [value for entry in entries for one in entry.objects for value in one.edges or ()]:
        try:
            edge = float(value or 1)
        except ValueError:
            continue  # a bad entry
        if edge < 1 or not edge.is_integer():
            return False
    return True


def _size(content: Element) -> tuple[int, int] | None:
    """(height, width); None where it is not said, or said to be 0."""
    try:
        height, width = (int(float(content.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
    except (ValueError, OverflowError):
        return None
    return (height, width) if min(height, width) > 0 else None


def _lists(root: Path) -> dict[str, set[str]]:
    """Names of the pictures of each part, from ``ImageSets/Main``; lists of single classes are not looked at."""
    folder = root / _LISTS
    if not folder.is_dir():
        return {}
    found: dict[str, set[str]] = {}
    for file in files_in(folder, ".txt"):
        name = "all" if file.stem.lower() in ("trainval", "default", "all") else part_named(file.stem)
        if name is not None:
            lines = (line.split() for line in read_text(file).splitlines())
            found[name] = {Path(words[0]).stem for words in lines if words}
    if "train" in found:
        found.pop("all", None)  # trainval is train and val
    elif len(found) > 1:
        found["train"] = found.pop("all", set())
    return found
