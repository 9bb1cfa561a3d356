"""Cityscapes: streets of 50 towns, finely or coarsely labelled.

Masks are ``*_labelIds.png``, or where there are none the ``*_labelTrainIds.png`` that the set's own script writes.
Format: https://github.com/mcordts/cityscapesScripts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from internimage.data.formats.mask_folders import layout_of
from internimage.data.formats.mask_numbers import Classes, grouped
from internimage.data.formats.masks import layout_classes
from internimage.data.formats.sets.pairs import beside, has_own_classes, parts_of
from internimage.data.masks import VOID, Coding, SegmentedImages
from internimage.errors import DataError
from internimage.settings.data import DataOptions

_NAME = "Cityscapes"
_READINGS = {"fine": ("gtFine", "the fine masks"), "coarse": ("gtCoarse", "the coarse masks, train and train_extra")}
# of each reading and part, kinds of masks and their splits; to validate on, the first that is there
_PLACES: Mapping[str, Mapping[str, Sequence[tuple[str, str]]]] = {
    "fine": {"train": [("gtFine", "train")], "val": [("gtFine", "val")]},
    "coarse": {
        "train": [("gtCoarse", "train"), ("gtCoarse", "train_extra")],
        "val": [("gtFine", "val"), ("gtCoarse", "val")],
    },
}
_IDS, _TRAIN_IDS = "labelIds.png", "labelTrainIds.png"
_BROKEN = "troisdorf_000000_000073"


class _Split(NamedTuple):
    kind: str
    pictures: Path
    masks: Path

    def has(self, end: str) -> bool:
        return any(self.masks.rglob(f"*_{end}"))


def recognise(root: Path) -> bool:
    """Whether pictures of towns lie at ``root`` with their masks."""
    return not has_own_classes(root) and bool(readings(root))


def readings(root: Path) -> dict[str, str]:
    """The fine masks, and where there are such the coarse ones, each with what it is."""
    return {
        name: what
        for name, (folder, what) in _READINGS.items()
        if (root / folder).is_dir() and any(_splits(root, name).values())
    }


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    splits = _splits(root, next(iter(readings(root))))["train"]
    return sum(1 for _ in islice((file for one in splits for file in one.pictures.rglob("*.png")), most))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, SegmentedImages]:
    """Training and validation; masks of the pictures to be tested on are empty, and not read.

    With ``options.reading`` "coarse" both training splits of the coarse masks, validated with the fine ones if these
    are there.  Of all other ids than the 19 classes', and of -1, which a PNG has as 255, nothing is known.

    Raises:
        DataError: the picture of a mask is not there, or there are no masks of numbers.
    """
    reading = (options and options.reading) or next(iter(readings(root)))
    splits = _splits(root, reading)
    every = [one for found in splits.values() for one in found]
    end = next((end for end in (_IDS, _TRAIN_IDS) if any(one.has(end) for one in every)), None)
    if end is None:
        raise DataError(
            f"{every[0].masks}: there is no *_{_IDS}; unpack the archive of {every[0].kind}, which has them"
        )
    named = {
        part: [
            entry
            for one in found
            for entry in beside(one.pictures, one.masks, ("_leftImg8bit.png", f"_{one.kind}_{end}"))
        ]
        for part, found in splits.items()
    }
    name = _NAME if reading == "fine" else f"{_NAME}, {reading}"
    notes = _notes(town for entries in named.values() for town, *_ in entries)
    return parts_of(root, name, _classes(end), named, wanted, options, notes)


def _splits(root: Path, reading: str) -> dict[str, list[_Split]]:
    """Folders of pictures and masks of each part that are both there."""
    found = {
        part: [_Split(kind, root / "leftImg8bit" / split, root / kind / split) for kind, split in places]
        for part, places in _PLACES[reading].items()
    }
    there = {
        part: [one for one in given if one.pictures.is_dir() and one.masks.is_dir()] for part, given in found.items()
    }
    return {part: given if part == "train" else given[:1] for part, given in there.items()}


def _classes(end: str) -> Classes:
    classes = layout_classes(layout_of(_NAME))
    if end == _IDS:
        return classes
    return replace(classes, coding=Coding(grouped(range(len(classes.names))), frozenset({VOID})))


def _notes(names: Iterable[str]) -> list[str]:
    broken = any(name.endswith(_BROKEN) for name in names)
    return [f"the picture of {_BROKEN} is broken in the set's archive; --on-corrupt skip leaves it out"] * broken
