"""Names of the parts of a data set: one vocabulary for all formats."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from internimage.errors import DataError

PartName = Literal["train", "val", "test"]
PART_NAMES: Mapping[PartName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_YEAR = re.compile(r"(?:[-_ ]?(?:19|20)\d\d)?$")
_WORDS = re.compile(r"[^a-z]+")


def part_named(name: str) -> PartName | None:
    """The part that a folder or file is called after, in any case, with a year or not: ``Training``, ``val2017``."""
    plain = _YEAR.sub("", name.lower())
    return next((part for part, names in PART_NAMES.items() if plain in names), None)


def part_mentioned(name: str) -> PartName | None:
    """The one part that a name mentions beside other words, such as ``cells_train_v2``; None for none or several."""
    found = {part for word in _WORDS.split(name.lower()) if (part := part_named(word))}
    return found.pop() if len(found) == 1 else None


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, sorted.  Files beside them, of which there may be 500,000, cost next to nothing."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    return [folder / name for name in names]


def part_folders(folder: Path) -> dict[PartName, Path]:
    """The folders below ``folder`` that are called after parts.

    Raises:
        DataError: two folders are called after the same part.
    """
    found: dict[PartName, Path] = {}
    for path in folders_in(folder):
        part = part_named(path.name)
        if part is None:
            continue
        if part in found:
            raise DataError(f"{folder} has {found[part].name} and {path.name}; expected one folder of the part {part}")
        found[part] = path
    return found
