"""What writers of results share: where they write, what objects are to them, names of folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from internimage.results.pasting import ObjectMask
from internimage.settings.views import DisplayOptions


class Picture(NamedTuple):
    """A picture whose result is written.

    Attributes:
        name: its path below the folder that all pictures have in common, with slashes.
        stem: the same without suffix, different from that of all other pictures.
    """

    name: str
    stem: str


class Shape(NamedTuple):
    """An object, or the pixels of a class: number of the class, x1, y1, x2, y2, score, and its pixels or None."""

    label: int
    box: tuple[float, float, float, float]
    score: float
    mask: ObjectMask | None


Shapes: TypeAlias = Callable[[Any, float], Iterable[Shape]]
"""The objects of a result with at least this score."""


@dataclass(frozen=True)
class Output:
    """Where and how results are written.

    Attributes:
        folder: is made if it is not there.
        pictures: all that will come, in order.
        classes: names of the model's classes.
        shown: how much of a result is written.
        least: minimum score of what is written to be measured, where every object counts.
        category_ids: the number of each class in the data that the model learnt from; None where nobody says.
        annotations: a file in COCO's format to take numbers of images and categories from.
    """

    folder: Path
    pictures: tuple[Picture, ...]
    classes: tuple[str, ...]
    shown: DisplayOptions
    least: float = 0.0
    category_ids: tuple[int | str, ...] | None = None
    annotations: Path | None = None

    def place(self, name: str) -> Path:
        """The path of a file below the folder; folders on the way are made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def folder_name(label: str) -> str:
    """The name of a class as that of a folder, on any system."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", label).strip(" .") or "_"
