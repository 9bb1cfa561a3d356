"""Several data sets as one: each keeps what it is, and a step learns from one of them.  No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, Self, TypeAlias, get_args

from internimage.data.left_out import LeftOut
from internimage.data.samples import ImageFile, Measured, Part
from internimage.images import ImageSource
from internimage.settings.data import DataOptions

Kind: TypeAlias = Literal["words", "objects", "names"]
"""What is known of pictures: captions and questions; objects with boxes and masks; one class each."""

KINDS: tuple[Kind, ...] = get_args(Kind)
TASKS: Mapping[Kind, str] = {"words": "describing", "objects": "detection", "names": "classification"}
"""The task that reads and measures each kind."""


class Told(NamedTuple):
    """What a pipeline is told of a picture: of which kind its set is, and what that set's task tells."""

    kind: Kind
    known: Any


class Entry(NamedTuple):
    """A picture of one of the sets.

    Attributes:
        number: of the set.
        own: the set's entry.
    """

    number: int
    own: Any

    @property
    def file(self) -> ImageFile:
        file: ImageFile = self.own.file
        return file


@dataclass(frozen=True, eq=False)
class DataSet:
    """One of several data sets.

    Attributes:
        name: of its folder; of what lies in the root itself, its kind.
        kind: see there.
        part: what a task of that kind reads.
    """

    name: str
    kind: Kind
    part: Any


@dataclass(eq=False)
class Sets(Part):
    """A part of several data sets, one after the other.

    Attributes:
        name, left_out, notes: see :class:`internimage.data.samples.Part`.
        sets: see there.
    """

    name: str
    sets: tuple[DataSet, ...]
    format: str = "several data sets"
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @cached_property
    def entries(self) -> Sequence[Entry]:  # type: ignore[override]
        return [Entry(number, own) for number, one in enumerate(self.sets) for own in one.part.entries]

    @property
    def files(self) -> Sequence[ImageFile]:
        """Each once, though several sets may tell of it."""
        return list(dict.fromkeys(file for one in self.sets for file in one.part.files))

    def __len__(self) -> int:
        return sum(len(one.part) for one in self.sets)

    def source(self, entry: Entry) -> ImageSource:
        source: ImageSource = self.sets[entry.number].part.source(entry.own)
        return source

    def measured(self, entry: Entry, size: tuple[int, int]) -> Measured:
        """What the set's task measures by; ``known`` is :class:`Told`."""
        one = self.sets[entry.number]
        truth, known = one.part.measured(entry.own, size)
        return Measured(truth, Told(one.kind, known))

    def with_entries(self, entries: Sequence[Entry], name: str) -> Self:
        own: list[list[Any]] = [[] for _ in self.sets]
        for entry in entries:
            own[entry.number].append(entry.own)
        return self._with([one.part.with_entries(some, name) for one, some in zip(self.sets, own, strict=True)], name)

    def usable(self, options: DataOptions) -> Self:
        return self._with([one.part.usable(options) for one in self.sets], self.name)

    def _with(self, parts: Sequence[Part], name: str) -> Self:
        sets = tuple(replace(one, part=part) for one, part in zip(self.sets, parts, strict=True))
        return replace(self, sets=sets, name=name)

    def summary(self) -> str:
        """``words: 500 pictures, 500 captions; objects: 500 pictures, star 90``."""
        return "; ".join(f"{one.name}: {one.part.summary()}" for one in self.sets)
