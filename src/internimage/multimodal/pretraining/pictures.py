"""Pictures with whatever is known of each: a class, texts, or nothing.  No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from internimage.data.left_out import LeftOut
from internimage.data.samples import ImageFile, Measured, Part, renumbered
from internimage.writing import counted


@dataclass(frozen=True)
class Sight:
    """A picture.

    Attributes:
        file: the picture.
        label: number of its class; None where nobody says.
        texts: that describe it, each by itself.
    """

    file: ImageFile
    label: int | None = None
    texts: tuple[str, ...] = ()


@dataclass(eq=False)
class Sights(Part):
    """A part of a data set to learn from before any task.

    Attributes:
        name, classes, format, left_out, notes, listed: see :class:`internimage.data.samples.Part`.
        sights: the pictures.
    """

    name: str
    sights: Sequence[Sight]
    classes: tuple[str, ...] = ()
    format: str = "pictures"
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    listed: bool = False

    @property
    def entries(self) -> Sequence[Sight]:
        return self.sights

    @property
    def labelled(self) -> int:
        """How many have a class."""
        return sum(one.label is not None for one in self.sights)

    @property
    def described(self) -> int:
        """How many have a text."""
        return sum(bool(one.texts) for one in self.sights)

    def measured(self, entry: Sight, size: tuple[int, int]) -> Measured:
        """The picture's class and texts; a model is told the texts."""
        return Measured(entry, entry)

    def with_entries(self, entries: Sequence[Sight], name: str) -> Self:
        return replace(self, sights=tuple(entries), name=name)

    def with_classes(self, classes: tuple[str, ...]) -> Self:
        """See :meth:`Part.with_classes`; where the model knows no classes, pictures keep theirs for measuring."""
        if classes == self.classes or not classes or not self.labelled:
            return replace(self, classes=classes)
        number = renumbered(self, classes)
        sights = tuple(one if one.label is None else replace(one, label=number[one.label]) for one in self.sights)
        return replace(self, classes=classes, sights=sights)

    def labels_of(self, entry: Sight) -> frozenset[int]:
        return frozenset(() if entry.label is None else (entry.label,))

    def used(self) -> frozenset[int] | None:
        """None where no picture has a class."""
        found = frozenset(one.label for one in self.sights if one.label is not None)
        return found or None

    def summary(self) -> str:
        """``500 pictures, 320 with a class, 100 with a text``."""
        parts = [counted(len(self), "picture")]
        parts += [f"{self.labelled} with a class"] if self.labelled else []
        parts += [f"{self.described} with a text"] if self.described else []
        return ", ".join(parts)
