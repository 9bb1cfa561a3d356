"""Several tasks in training: batches of one of them, and its losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from internimage.errors import DataError
from internimage.multimodal.describing.batch import collate as collate_words
from internimage.multimodal.describing.settings import WordsAugmentation
from internimage.multimodal.generalist.batch import Batch
from internimage.multimodal.generalist.data import Sets
from internimage.multimodal.generalist.evaluation import GeneralistReport
from internimage.multimodal.generalist.lessons import Lesson
from internimage.multimodal.generalist.pipeline import GeneralistPipeline
from internimage.multimodal.sequences.targets import NamedObjects, NamedPictures, WordTargets
from internimage.multimodal.words.vocabulary import Ids
from internimage.tasks.detection.task import collate as collate_objects

if TYPE_CHECKING:
    from internimage.contracts import Pipeline

_WORDS = ("captions", "pairs", "questions", "masked")


class GeneralistTask:
    """One task of one data set a step.

    Args:
        lessons: what there is to learn.
        names: by number of a set the texts of its classes.
        answers: texts of the answers that the model chooses among.
        val: the validation part.
        words: how words are learnt.
    """

    best = "mean"
    headline: Sequence[str] = ()
    ragged = True

    def __init__(
        self,
        lessons: Sequence[Lesson],
        names: Mapping[int, Sequence[Ids]],
        answers: Sequence[Ids],
        val: Sets,
        words: WordsAugmentation,
    ) -> None:
        self.lessons, self.names, self.answers, self.val, self.words = lessons, names, answers, val, words
        self.headline = GeneralistReport.headline(val)

    def collate(self, samples: Sequence[tuple[int, Any]]) -> Batch:
        number, own = samples[0][0], [sample for _, sample in samples]
        lesson = self.lessons[number]
        if any(other != number for other, _ in samples):
            raise DataError("a batch has samples of several tasks; batches have to divide updates evenly")
        unreadable = tuple(name for sample in own for name in sample.unreadable)
        if lesson.task == "objects":
            batch = collate_objects(own)
            assert batch.targets is not None
            targets: NamedObjects | WordTargets = NamedObjects(self.names[lesson.number], batch.sizes, batch.targets)
            return Batch(batch.images, targets, number, unreadable)
        if lesson.task == "names":
            labels = torch.tensor([sample.label for sample in own])
            targets = WordTargets(names=NamedPictures(self.names[lesson.number], labels))
            return Batch(torch.stack([sample.image for sample in own]), targets, number, unreadable)
        captions, pairs, questions, masked = (float(name == lesson.task) for name in _WORDS)
        alone = replace(self.words, captions=captions, pairs=pairs, questions=questions, masked=masked)
        words = collate_words(own, alone, self.answers)
        return Batch(words.images, words.targets, number, unreadable)

    def losses(self, losses: Callable[..., dict[str, Tensor]], batch: Batch) -> dict[str, Tensor]:
        return losses(batch.images, batch.targets)

    def pipeline(self, model: Any, *, in_step: bool = False) -> Pipeline:
        return GeneralistPipeline(model)

    def report(self, pipeline: Any) -> GeneralistReport:
        return GeneralistReport.on(pipeline, self.val, quick=True)
