"""What readers of sets of masks share: pictures beside their masks, and a look at the masks' numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from internimage.data.formats.documents import read_text
from internimage.data.formats.mask_folders import by_name
from internimage.data.formats.mask_numbers import Classes
from internimage.data.formats.masks import NAMING
from internimage.data.left_out import BadEntries
from internimage.data.masks import MaskFile, SegmentedImage, SegmentedImages
from internimage.errors import DataError, ImageReadError
from internimage.images.masks import read_mask
from internimage.settings.data import DataOptions

_LOOKED_AT = 100  # masks
_FEW = 1_000  # files of a folder, to say what it holds

Named = tuple[str, Path, MaskFile]
"""A name, the picture of it and its mask, whether they are there or not."""


def has_own_classes(root: Path) -> bool:
    """Whether a file at ``root`` says what masks mean: such a folder is a person's own."""
    return any((root / name).is_file() for name in NAMING)


def holds(folder: Path, end: str, unlike: str = "\0") -> bool:
    """Whether among some of a folder's files one ends so, and none otherwise."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        names = [one.name for one in islice(entries, _FEW)]
    return any(name.endswith(end) for name in names) and not any(name.endswith(unlike) for name in names)


def beside(pictures: Path, masks: Path, ends: tuple[str, str] = ("", "")) -> list[Named]:
    """Everything in a folder of pictures and one of masks by name, with what the files of both end in."""
    there, drawn = by_name(pictures, ends[0]), by_name(masks, ends[1])
    picture_end, mask_end = ends[0] or ".jpg", ends[1] or ".png"
    return [
        (name, there.get(name, pictures / f"{name}{picture_end}"), drawn.get(name, masks / f"{name}{mask_end}"))
        for name in sorted(there.keys() | drawn.keys())
    ]


def listed(file: Path) -> list[str]:
    """The first word of each line.

    Raises:
        DataError: there is none, or the file is no text.
    """
    names = [words[0] for line in read_text(file).splitlines() if (words := line.split())]
    if not names:
        raise DataError(f"{file} is empty; expected the name of a picture a line")
    return names


def parts_of(
    root: Path,
    format: str,
    classes: Classes,
    named: Mapping[str, Sequence[Named]],
    wanted: str | None,
    options: DataOptions | None,
    notes: Sequence[str] = (),
) -> dict[str, SegmentedImages]:
    """The parts of a set, or the wanted one alone.  Masks that are not there are missing when they are read.

    Raises:
        DataError: there is nothing, or the picture of a mask is not there; all such are listed, unless ``options`` drop
            them.
    """
    chosen = {part: entries for part, entries in named.items() if entries}
    if not chosen:
        raise DataError(f"{root}: {format} without any picture or mask; unpack its archives there")
    chosen = {part: entries for part, entries in chosen.items() if part == wanted} or chosen
    is_there, found = _looking(), {}
    for part, entries in chosen.items():
        bad = BadEntries()
        images = [SegmentedImage(picture, mask) for _, picture, mask in entries if is_there(picture)]
        for _, picture, mask in entries:
            if not is_there(picture):
                bad.add("pictures", f"{mask}: its picture {picture} is not there")
        left_out = bad.settle(options is not None and options.bad_entries == "drop", {"pictures": len(entries)})
        name = f"{root} ({part})" if part != "all" else str(root)
        found[part] = SegmentedImages(
            *(name, classes.names, classes.palette, classes.coding, tuple(sorted(images)), format),
            left_out,
            tuple(notes),
        )
    return found


def numbers_in(masks: Sequence[MaskFile], until: Callable[[set[int]], bool] = bool) -> set[int]:
    """Numbers of some masks, looked at until they satisfy; of masks that cannot be read none."""
    found: set[int] = set()
    for mask in masks[:: -(-len(masks) // _LOOKED_AT) or 1]:
        try:
            found |= set(np.unique(read_mask(mask)).tolist())
        except ImageReadError:
            continue  # training and the check say which
        if until(found):
            break
    return found


def masks_of(named: Mapping[str, Iterable[Named]]) -> list[MaskFile]:
    return [mask for entries in named.values() for _, _, mask in entries]


def _looking() -> Callable[[Path], bool]:
    """Whether a file is there, by lists of folders: a look for each file takes long on a network."""
    names: dict[Path, frozenset[str]] = {}

    def is_there(path: Path) -> bool:
        if path.parent not in names:
            names[path.parent] = frozenset(os.listdir(path.parent)) if path.parent.is_dir() else frozenset()  # noqa: PTH208
        return path.name in names[path.parent]

    return is_there
