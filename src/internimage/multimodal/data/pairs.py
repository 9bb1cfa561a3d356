"""Pictures with captions and questions, once their files are found.  No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from internimage.data.left_out import LeftOut
from internimage.data.samples import ImageFile, Measured, Part
from internimage.writing import counted


@dataclass(frozen=True)
class Question:
    """A question about a picture.

    Attributes:
        text: as it was asked.
        answers: what people answered, one each: ten in VQA, one in most other sets; empty where nobody knows.
        kind: of the question, such as "what color is the"; numbers are reported for each.
        answer_kind: of the answer, such as "yes/no".
        id: the set's own.
    """

    text: str
    answers: tuple[str, ...] = ()
    kind: str = ""
    answer_kind: str = ""
    id: int | str | None = None


@dataclass(frozen=True)
class Described:
    """A picture and what is said of it.

    Attributes:
        file: the picture.
        captions: sentences that describe it, each by itself.
        questions: see there.
        id: the set's own.
    """

    file: ImageFile
    captions: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    id: int | str | None = None


@dataclass(eq=False)
class Pairs(Part):
    """A part of a data set of pictures with words.

    Attributes:
        name, format, left_out, notes: see :class:`internimage.data.samples.Part`.
        described: the pictures.
    """

    name: str
    described: Sequence[Described]
    format: str = ""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def entries(self) -> Sequence[Described]:
        return self.described

    def measured(self, entry: Described, size: tuple[int, int]) -> Measured:
        """The picture's words, which are also what a model is asked."""
        return Measured(entry, entry)

    def with_entries(self, entries: Sequence[Described], name: str) -> Self:
        return replace(self, described=tuple(entries), name=name)

    def summary(self) -> str:
        """``500 pictures, 2,500 captions, 1,200 questions``."""
        captions = sum(len(one.captions) for one in self.described)
        questions = sum(len(one.questions) for one in self.described)
        parts = [counted(len(self), "picture")]
        parts += [counted(captions, "caption")] if captions else []
        parts += [counted(questions, "question")] if questions else []
        return ", ".join(parts)
