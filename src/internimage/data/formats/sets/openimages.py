"""OpenImages v6 and its challenge of 2019: objects and verified classes in CSV files.

Boxes are shares of the picture, in the order XMin, XMax, YMin, YMax; sizes come from the pictures' headers.  Boxes
around groups (IsGroupOf) are crowds here.  Classes are numbered as class-descriptions-boxable.csv lists them.
Format: https://storage.googleapis.com/openimages/web/download_v6.html.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from internimage.data.formats.documents import read_json
from internimage.data.formats.gathering import Gathering, file_sizes
from internimage.data.formats.pictures import PictureFinder
from internimage.data.formats.shapes import BadEntryError
from internimage.data.objects import ObjectImages, ObjectTable, Rule
from internimage.data.objects.columns import Array, Ragged, starts
from internimage.errors import DataError
from internimage.settings.data import DataOptions

_NAMES = {"train": ("oidv6-train", "train"), "val": ("validation",), "test": ("test",)}
_BOXES = ("{}-annotations-bbox.csv", "challenge-2019-{}-detection-bbox.csv")
_LABELS = (
    "{}-annotations-human-imagelabels-boxable.csv",
    "challenge-2019-{}-detection-human-imagelabels.csv",
)
_CLASSES = ("class-descriptions-boxable.csv", "challenge-2019-classes-description-500.csv")
_TREES = ("bbox_labels_600_hierarchy.json", "challenge-2019-label500-hierarchy.json")
_PLACES = (".", "annotations", "csv", "labels", "metadata", "label_descriptions", "challenge2019")
_FOLDERS = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}
_SURE = {"1": True, "1.0": True, "0": False, "0.0": False}
_EDGES = ("XMin", "YMin", "XMax", "YMax")


@dataclass
class _Columns:
    """Objects of a part, in the order of the file: the number of picture and class, corners, and group or not."""

    pictures: dict[str, int] = field(default_factory=dict)
    picture: array[int] = field(default_factory=lambda: array("q"))
    label: array[int] = field(default_factory=lambda: array("i"))
    corners: array[float] = field(default_factory=lambda: array("d"))
    group: array[int] = field(default_factory=lambda: array("b"))


@dataclass
class _Verified:
    """Image-level labels: the number of picture and class, and whether it is there."""

    picture: array[int] = field(default_factory=lambda: array("q"))
    label: array[int] = field(default_factory=lambda: array("i"))
    present: array[int] = field(default_factory=lambda: array("b"))


def recognise(root: Path) -> bool:
    """Whether files of boxes lie at ``root``."""
    return root.is_dir() and bool(_files(root, _BOXES))


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    folder = next((root / name for name in ("train", "images/train") if (root / name).is_dir()), None)
    return 0 if folder is None else sum(1 for _ in islice(folder.iterdir(), most))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """Training, validation and test, those that are there; the ``wanted`` one alone.

    Raises:
        DataError: rows contradict the format, or the classes' file is not there.
    """
    files, verified = _files(root, _BOXES), _files(root, _LABELS)
    names = _classes(root)
    chosen = {part: file for part, file in files.items() if part == wanted} or files
    parts = {
        part: _read(root, part, file, verified.get(part), names, options or DataOptions())
        for part, file in chosen.items()
    }
    rule = Rule("openimages", ancestors=_ancestors(root, tuple(names)))
    return {name: part.measured_by(rule) for name, part in parts.items()}


def _find(root: Path, names: Sequence[str]) -> Path | None:
    return next((root / place / name for name in names for place in _PLACES if (root / place / name).is_file()), None)


def _files(root: Path, patterns: Sequence[str]) -> dict[str, Path]:
    found = {
        part: _find(root, [pattern.format(name) for pattern in patterns for name in names])
        for part, names in _NAMES.items()
    }
    return {part: file for part, file in found.items() if file is not None}


def _classes(root: Path) -> dict[str, str]:
    """Names by ids, in the order of the file."""
    file = _find(root, _CLASSES)
    if file is None:
        raise DataError(f"{root} has no {_CLASSES[0]}; download it beside the annotations: it names the classes")
    rows = [row for _, row in _lines(file) if row]
    if wrong := next((index for index, row in enumerate(rows, 1) if len(row) != 2 or not all(row)), None):
        raise DataError(f"{file} line {wrong} is {rows[wrong - 1]}; expected an id and a name, such as /m/01yrx,Cat")
    names = dict(rows)
    if len(names) < len(rows) or len(set(names.values())) < len(rows):
        raise DataError(f"{file} has an id or a name twice; expected each of them once")
    return names


def ancestors_in(tree: Any, ids: Sequence[str]) -> tuple[frozenset[int], ...]:
    """The wider classes that each class is of, of which there may be several; parts are none, and nor is the root.

    Args:
        tree: the content of bbox_labels_600_hierarchy.json.
        ids: the classes' names there, such as "/m/0jbk".

    Raises:
        DataError: it is no such tree.
    """
    number = {identity: index for index, identity in enumerate(ids)}
    found: list[set[int]] = [set() for _ in ids]
    waiting: list[tuple[Any, tuple[int, ...]]] = [(tree, ())]
    while waiting:
        node, above = waiting.pop()
        if not isinstance(node, dict) or not isinstance(node.get("LabelName"), str):
            raise DataError("it has an entry without LabelName; expected a tree of classes")
        own = None if node is tree else number.get(node["LabelName"])
        if own is not None:
            found[own] |= set(above)
            above = (*above, own)
        waiting += [(child, above) for child in node.get("Subcategory") or ()]
    return tuple(map(frozenset, found))


def _ancestors(root: Path, ids: Sequence[str]) -> tuple[frozenset[int], ...]:
    file = _find(root, _TREES)
    if file is None:
        raise DataError(f"{root} has no {_TREES[0]}; download it beside the annotations: results are measured by it")
    try:
        return ancestors_in(read_json(file), ids)
    except DataError as error:
        text = str(error)
        raise DataError(text if text.startswith(str(file)) else f"{file}: {text}") from None


def _read(
    root: Path, name: str, file: Path, verified: Path | None, names: Mapping[str, str], options: DataOptions
) -> ObjectImages:
    """One part.  Objects stay in columns: there are fifteen million."""
    folders = [root / place / folder for place in (".", "images", "OpenImages") for folder in _FOLDERS[name]]
    part = Gathering(str(file), "OpenImages", PictureFinder(folders, root))
    number = {identity: index for index, identity in enumerate(names)}
    columns = _columns(part, file, number)
    shown = _Verified()
    if verified is None:
        part.notes.append("no file of image-level labels: what is not verified cannot be told from what is wrong")
    else:
        _look_for(shown, columns.pictures, verified, number, more=name != "train")
    assert part.finder is not None
    paths = {identity: part.finder.find(f"{identity}.jpg") for identity in columns.pictures}
    there = {identity: path for identity, path in paths.items() if path is not None}
    sizes = dict(zip(there, file_sizes(there.values()), strict=True))
    kept = np.zeros(len(columns.pictures), bool)
    for place, identity in enumerate(columns.pictures):
        with part.entry("pictures", f"{file}, image {identity}"):
            part.find(f"{identity}.jpg", sizes.get(identity), identity)
            kept[place] = True
    pictures = part.settle(options, tuple(names.values()), tuple(names))
    return replace(pictures, images=_table(pictures.table, kept, columns, shown, len(names)))


def _look_for(shown: _Verified, pictures: dict[str, int], file: Path, number: Mapping[str, int], *, more: bool) -> None:
    """Image-level labels of the pictures; of ``more`` pictures where those without boxes are measured too."""
    for where, (identity, label, confidence) in _rows(file, ("ImageID", "LabelName", "Confidence")):
        if label not in number or confidence not in _SURE:
            raise DataError(
                f"{where} is {label}, {confidence}; expected one of the {len(number)} classes, and whether it is "
                "there, 1 or 0"
            )
        if more:  # what is found of an absent class is wrong
            pictures.setdefault(identity, len(pictures))
        if identity in pictures:
            shown.picture.append(pictures[identity])
            shown.label.append(number[label])
            shown.present.append(_SURE[confidence])


def _table(pictures: ObjectTable, kept: Array, columns: _Columns, shown: _Verified, classes: int) -> ObjectTable:
    """Pictures with their objects, of those that are ``kept``."""
    place = np.where(kept, np.cumsum(kept) - 1, -1)
    image = place[np.array(columns.picture, np.int64)]
    order = np.argsort(image, kind="stable")
    order = order[image[order] >= 0]
    image = image[order]
    shares = np.array(columns.corners, np.float64).reshape(-1, 4)[order]
    labels = np.array(columns.label, np.int32)[order]
    seen, present = place[np.array(shown.picture, np.int64)], np.array(shown.present, bool)
    verified, missing = np.array(shown.label, np.int32), seen < 0

    def packed(images: Array, some: Array) -> Ragged:
        pairs = np.unique(images.astype(np.int64) * classes + some)
        counts = np.bincount(pairs // classes, minlength=len(pictures))
        return Ragged((pairs % classes).astype(np.int32).view(np.uint8), starts(4 * counts))

    there, absent = present & ~missing, ~present & ~missing
    return replace(
        pictures,
        first=starts(np.bincount(image, minlength=len(pictures))),
        boxes=shares * pictures.sizes[image][:, [1, 0, 1, 0]],
        labels=labels,
        crowds=np.array(columns.group, bool)[order],
        numbers=np.arange(1, len(order) + 1),
        verified=(
            packed(np.concatenate([image, seen[there]]), np.concatenate([labels, verified[there]])),
            packed(seen[absent], verified[absent]),
            packed(seen[:0], verified[:0]),
        ),
    )


def _columns(part: Gathering, file: Path, number: Mapping[str, int]) -> _Columns:
    found = _Columns()
    for where, row in _rows(file, ("ImageID", "LabelName", *_EDGES, "IsGroupOf")):
        with part.entry("objects", where):
            if row[1] not in number:
                raise BadEntryError(f"the class {row[1]} is none of the {len(number)} in the classes' file")
            try:
                corners = [float(value) for value in row[2:6]]
            except ValueError:
                corners = []
            if not corners or not all(-1 <= value <= 2 for value in corners):
                raise BadEntryError(f"the box is {', '.join(row[2:6])}; expected shares of the picture, 0 to 1")
            if corners[2] < corners[0] or corners[3] < corners[1]:
                raise BadEntryError(f"{', '.join(_EDGES)} are {', '.join(row[2:6])}; expected the smaller ones first")
            found.picture.append(found.pictures.setdefault(row[0], len(found.pictures)))
            found.label.append(number[row[1]])
            found.corners.extend(corners)
            found.group.append(row[6] == "1")
    return found


def _rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Where a row stands, and these columns of it."""
    lines = _lines(file)
    _, header = next(lines, (1, []))
    if lacking := [name for name in columns if name not in header]:
        raise DataError(f"{file} has no column {', '.join(lacking)}; expected those of OpenImages v6")
    places = [header.index(name) for name in columns]
    for index, row in lines:
        if len(row) != len(header):
            raise DataError(f"{file} line {index} has {len(row)} values; expected {len(header)}: the file is cut")
        yield f"{file} line {index}", [row[place] for place in places]


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Numbers and values of the lines."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as content:
            yield from enumerate(csv.reader(content), 1)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is not a readable CSV file: {error}") from error
