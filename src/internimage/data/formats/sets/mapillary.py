"""Mapillary Vistas 1.2 and 2.0: streets of the world, with classes of its own or as those of Cityscapes.

Format: https://www.mapillary.com/dataset/vistas.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from internimage.data.formats.mask_folders import layout_of
from internimage.data.formats.mask_numbers import Classes
from internimage.data.formats.masks import layout_classes
from internimage.data.formats.sets.pairs import beside, has_own_classes, parts_of
from internimage.data.masks import Coding, SegmentedImages
from internimage.labels import load_labels, load_palette
from internimage.settings.data import DataOptions

_PARTS = {"train": "training", "val": "validation"}
_AS_CITYSCAPES, _OLDER, _NEWER = "cityscapes", "v1.2", "v2.0"
_LABELS = {_OLDER: "mapillary66", _NEWER: "mapillary124"}
_LAYOUT = "Mapillary Vistas 1.2, as Cityscapes"


def recognise(root: Path) -> bool:
    """Whether pictures of the set lie at ``root`` with their masks."""
    return not has_own_classes(root) and bool(readings(root))


def readings(root: Path) -> dict[str, str]:
    """The classes of Cityscapes, the 66 of version 1.2, the 124 of version 2.0, as far as their masks are there."""
    older = {_AS_CITYSCAPES: "the 19 classes of Cityscapes", _OLDER: "its own 66 classes"}
    newer = {_NEWER: "its own 124 classes"}
    return (older if _masks(root, _OLDER) else {}) | (newer if _masks(root, _NEWER) else {})


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    return sum(1 for _ in islice((root / _PARTS["train"] / "images").glob("*.jpg"), most))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, SegmentedImages]:
    """Training and validation; the pictures to be tested on have no masks.

    As the 19 classes of Cityscapes, or with ``options.reading`` "v1.2" and "v2.0" as its own, of which the last one,
    Unlabeled, is unknown and no mask has it.

    Raises:
        DataError: the picture of a mask is not there.
    """
    reading = (options and options.reading) or next(iter(readings(root)))
    folders = _masks(root, _OLDER if reading == _AS_CITYSCAPES else reading)
    pictures = {part: root / _PARTS[part] / "images" for part in folders}
    named = {part: beside(pictures[part], folder) for part, folder in folders.items()}
    newer = any(folder.parent.name in (_OLDER, _NEWER) for folder in folders.values())
    how = {_AS_CITYSCAPES: ", as Cityscapes", _OLDER: ", its older labels" * newer, _NEWER: ""}
    name = f"Mapillary Vistas {'2.0' if newer else '1.2'}{how[reading]}"
    return parts_of(root, name, _classes(reading), named, wanted, options)


def _masks(root: Path, kind: str) -> dict[str, Path]:
    """The folder of masks of each part; those of version 1.2 are beside its instances, which tell it from others."""
    parts = {part: root / folder for part, folder in _PARTS.items() if (root / folder / "images").is_dir()}
    found = {part: above / kind / "labels" for part, above in parts.items()}
    if kind == _OLDER and any((above / "instances").is_dir() for above in parts.values()):
        found = {part: above / "labels" for part, above in parts.items()}
    return {part: folder for part, folder in found.items() if folder.is_dir()}


def _classes(reading: str) -> Classes:
    if reading == _AS_CITYSCAPES:
        return layout_classes(layout_of(_LAYOUT))
    names = load_labels(_LABELS[reading])
    unlabelled = len(names) - 1
    ids = (*((number,) for number in range(unlabelled)), ())
    return Classes(names, load_palette(_LABELS[reading]), Coding(ids, frozenset({unlabelled})))
