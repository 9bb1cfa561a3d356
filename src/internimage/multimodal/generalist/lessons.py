"""What there is to learn, and in which order: one task of one data set a step, the same on all processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from internimage.data.sampling.orders import cycles
from internimage.data.sampling.sampler import SampleKey
from internimage.errors import DataError
from internimage.multimodal.data.pairs import Pairs
from internimage.multimodal.describing.answers import shares as right_answers
from internimage.multimodal.generalist.data import DataSet, Sets
from internimage.multimodal.generalist.settings import LEARNT, GeneralistAugmentation


@dataclass(frozen=True)
class Lesson:
    """One task of one data set.

    Attributes:
        number: of the set.
        task: one of :data:`internimage.multimodal.generalist.settings.LEARNT`.
        places: of the set's entries that teach it.
        share: of the steps.
    """

    number: int
    task: str
    places: Sequence[int]
    share: float


def make_lessons(train: Sets, augmentation: GeneralistAugmentation, answers: Sequence[str]) -> tuple[Lesson, ...]:
    """The lessons of a training part.

    Raises:
        DataError: there are none.
    """
    numbers = {answer: number for number, answer in enumerate(answers)}
    found: list[tuple[int, str, Sequence[int]]] = []
    for task in LEARNT:
        if getattr(augmentation, task):
            every = [(number, task, _teaching(one, task, numbers)) for number, one in enumerate(train.sets)]
            found += [one for one in every if one[2]]
    if not found:
        raise DataError(f"{train.name} has nothing to learn: {train.summary()}")
    weights = []
    for _, task, places in found:
        pictures = sum(len(other) for _, same, other in found if same == task)
        weights.append(getattr(augmentation, task) * len(places) / pictures)
    return tuple(
        Lesson(number, task, places, weight / sum(weights))
        for (number, task, places), weight in zip(found, weights, strict=True)
    )


def _teaching(one: DataSet, task: str, numbers: dict[str, int]) -> Sequence[int]:
    """Places of the entries of a set that teach a task."""
    if one.kind != "words":
        return range(len(one.part)) if task == one.kind else ()
    part: Pairs = one.part
    if task == "questions":
        entries = enumerate(part.entries)
        return [place for place, entry in entries if any(right_answers(asked, numbers) for asked in entry.questions)]
    if task in ("captions", "pairs", "masked"):
        return [place for place, entry in enumerate(part.entries) if entry.captions]
    return ()


@dataclass(frozen=True)
class OneTaskAStep:
    """An :class:`internimage.data.sampling.orders.Order` of lessons' samples: each update takes those of one lesson.

    Which one is drawn by the lessons' shares; of a lesson all samples come, in random order, before one comes again.

    Attributes:
        sizes: samples of each lesson, which follow one another.
        shares: of the updates.
        length: of an epoch.
        update: samples of an update.
    """

    sizes: tuple[int, ...]
    shares: tuple[float, ...]
    length: int
    update: int = 1

    @property
    def told(self) -> str:
        return "each update learns one task"

    def for_updates(self, images: int) -> OneTaskAStep:
        return OneTaskAStep(self.sizes, self.shares, self.length, images)

    def draw(self, generator: torch.Generator) -> Tensor:
        steps = -(-self.length // self.update)
        drawn = torch.multinomial(torch.tensor(self.shares), steps, replacement=True, generator=generator)
        order = torch.empty(steps, self.update, dtype=torch.int64)
        start = 0
        for lesson, size in enumerate(self.sizes):
            mine = drawn == lesson
            numbers = cycles(torch.arange(start, start + size), int(mine.sum()) * self.update, generator)
            order[mine] = numbers.unflatten(0, (-1, self.update))
            start += size
        return order.flatten()[: self.length]


class LessonDataset(Dataset[Any]):
    """Samples of lessons, one lesson after the other, each with the lesson's number.

    Args:
        samples: of each lesson what makes samples of the entries that teach it, and of no others: one that cannot be
            read is stood in for by the next.
    """

    def __init__(self, samples: Sequence[Dataset[Any]]) -> None:
        self.samples = samples
        self.starts = [0]
        for one in samples:
            self.starts.append(self.starts[-1] + len(one))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, key: SampleKey) -> tuple[int, Any]:
        lesson = next(number for number, end in enumerate(self.starts[1:]) if key.index < end)
        return lesson, self.samples[lesson][SampleKey(key.epoch, key.index - self.starts[lesson], key.turn)]
