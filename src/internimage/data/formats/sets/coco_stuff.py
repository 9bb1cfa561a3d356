"""COCO-Stuff: 10K with MATLAB files, 164K with PNGs, and both as the usual script converts them to train ids.

What a pixel's number means differs in all four, by one for every class, and nothing in a file says so:

=============  =================================  ====================  ===========
set            masks                              classes               unlabelled
=============  =================================  ====================  ===========
10K            ``annotations/*.mat``, ``S``       category ids, 1..182  0
164K           ``stuffthingmaps/*2017/*.png``     category ids less 1   255
10K, train     ``annotations/*2014/*_label...``   1..171                0
164K, train    ``annotations/*2017/*_label...``   0..170                255
=============  =================================  ====================  ===========

Formats: https://github.com/nightrome/cocostuff10k, https://github.com/nightrome/cocostuff.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from internimage.data.formats import masks
from internimage.data.formats.mask_folders import by_name, find_layout
from internimage.data.formats.mask_numbers import Classes, grouped
from internimage.data.formats.sets.pairs import (
    Named,
    beside,
    has_own_classes,
    holds,
    listed,
    masks_of,
    numbers_in,
    parts_of,
)
from internimage.data.masks import VOID, Coding, MaskFile, SegmentedImages
from internimage.errors import DataError
from internimage.images import MatlabArray
from internimage.labels import COCO_CATEGORY_IDS, load_labels, load_palette
from internimage.settings.data import DataOptions

_SMALL, _LARGE = "COCO-Stuff 10K", "COCO-Stuff 164K"
_CATEGORY_IDS = (*COCO_CATEGORY_IDS, *range(92, 183))
_OLD_LAST = 172  # of the first version, which counts its own classes from 2
_MATLAB, _VARIABLE = "annotations", "S"
_LISTS = {"train": "imageLists/train.txt", "val": "imageLists/test.txt"}
_CONVERTED = "_labelTrainIds.png"
_MAPS = ("stuffthingmaps", "stuffthingmaps_trainval2017", "annotations")
_YEARS = {"train": "train2017", "val": "val2017"}
_SHIFTED = "the two sets are shifted by one against each other, so look at names on a sheet (data check --sheet)"


def recognise(root: Path) -> bool:
    """Whether one of the four lies at ``root``."""
    if not root.is_dir() or has_own_classes(root):
        return False
    return _is_small(root) or bool(_maps(root)) or _is_converted(root)


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    if _is_small(root):
        file = root / _LISTS["train"]
        return min(most, len(listed(file) if file.is_file() else by_name(root / _MATLAB, ".mat")))
    if maps := _maps(root):
        return sum(1 for _ in islice(maps.get("train", root).glob("*.png"), most))
    return masks.estimate(root, most)


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, SegmentedImages]:
    """Training and validation, which is what 10K calls its test; "all" of a 10K without lists.

    Raises:
        DataError: the picture of a mask is not there, or the masks are those of version 1.0.
        MissingExtraError: SciPy is not installed, which reads 10K.
    """
    if _is_small(root):
        return _read_small(root, wanted, options)
    if maps := _maps(root):
        named = {part: beside(_pictures(root, part), folder) for part, folder in maps.items()}
        ids = tuple(one - 1 for one in _CATEGORY_IDS)
        return parts_of(root, _LARGE, _classes(ids, VOID), named, wanted, options, _without_void(masks_of(named)))
    return _read_converted(root, wanted, options)


def _is_small(root: Path) -> bool:
    return (root / "images").is_dir() and any((root / _MATLAB).glob("COCO_*.mat"))


def _read_small(root: Path, wanted: str | None, options: DataOptions | None) -> dict[str, SegmentedImages]:
    lists = {part: root / name for part, name in _LISTS.items() if (root / name).is_file()}
    names = {part: listed(file) for part, file in lists.items()} or {"all": sorted(by_name(root / _MATLAB, ".mat"))}
    named: dict[str, list[Named]] = {
        part: [
            (name, root / "images" / f"{name}.jpg", MatlabArray(root / _MATLAB / f"{name}.mat", _VARIABLE))
            for name in found
        ]
        for part, found in names.items()
    }
    _refuse_old(root, masks_of(named))
    notes = [] if lists else [f"no {' or '.join(_LISTS.values())}, which say what is for training"]
    return parts_of(root, _SMALL, _classes(_CATEGORY_IDS, 0), named, wanted, options, notes)


def _refuse_old(root: Path, files: Sequence[MaskFile]) -> None:
    """Version 1.0 has an order of its own, from 1 for unlabelled to 172, and no 0."""
    seen = numbers_in(files, lambda numbers: 0 in numbers or max(numbers) > _OLD_LAST)
    if seen and 0 not in seen and max(seen) <= _OLD_LAST:
        raise DataError(
            f"{root / _MATLAB}: no {_VARIABLE} that was looked at has a 0 or a number above {_OLD_LAST}, as those of "
            "COCO-Stuff 10K 1.0 have none, whose classes have another order; expected version 1.1"
        )


def _maps(root: Path) -> dict[str, Path]:
    """The folder of 164K's masks of each part that has pictures; those that were converted too are read as such."""
    for above in _MAPS:
        folders = {part: root / above / year for part, year in _YEARS.items() if _pictures(root, part).is_dir()}
        found = {part: folder for part, folder in folders.items() if holds(folder, ".png", unlike=_CONVERTED)}
        if found:
            return found
    return {}


def _pictures(root: Path, part: str) -> Path:
    inside = root / "images" / _YEARS[part]
    return inside if inside.is_dir() else root / _YEARS[part]


def _is_converted(root: Path) -> bool:
    layout = find_layout(root)
    return layout is not None and layout.name.startswith("COCO-Stuff")


def _read_converted(root: Path, wanted: str | None, options: DataOptions | None) -> dict[str, SegmentedImages]:
    layout = find_layout(root)
    assert layout is not None
    parts = masks.read_parts(root, wanted, options)
    files: list[MaskFile] = [
        image.mask for part in parts.values() for image in part.images if isinstance(image.mask, Path)
    ]
    if layout.first:
        name, notes = _SMALL, _with_void(files)
    else:
        name, notes = _LARGE, _without_void(files)
    return {key: replace(part, format=f"{name}, converted", notes=(*part.notes, *notes)) for key, part in parts.items()}


def _with_void(files: Sequence[MaskFile]) -> list[str]:
    if VOID not in numbers_in(files, lambda numbers: VOID in numbers):
        return []
    return [f"masks have {VOID}, which those of {_SMALL} have not and those of {_LARGE} have: {_SHIFTED}"]


def _without_void(files: Sequence[MaskFile]) -> list[str]:
    if VOID in numbers_in(files, lambda numbers: VOID in numbers):
        return []
    return [f"no mask that was looked at has {VOID} for unlabelled, which most of {_LARGE} have: {_SHIFTED}"]


def _classes(ids: Sequence[int], unknown: int) -> Classes:
    names, palette = load_labels("coco_stuff"), load_palette("coco_stuff")
    return Classes(names, palette, Coding(grouped(ids), frozenset({unknown})))
