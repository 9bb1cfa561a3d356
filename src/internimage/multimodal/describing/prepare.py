"""A run that learns pictures and words: data, initial weights, task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from internimage.contracts import Prepared
from internimage.data.splits import Splits
from internimage.errors import ConfigError, DataError
from internimage.images import Preprocessing
from internimage.multimodal.data.pairs import Pairs
from internimage.multimodal.describing.answers import known_answers, spelled, texts_of
from internimage.multimodal.describing.dataset import WordDataset
from internimage.multimodal.describing.settings import WordsAugmentation
from internimage.multimodal.describing.task import DescribingTask
from internimage.multimodal.models.config import LEARNT
from internimage.recipes import Recipe
from internimage.settings.training import RunConfig
from internimage.text.clip import ClipTokenizer
from internimage.training.initial import initial_model
from internimage.writing import counted

_ALONE = 3  # questions of a picture where nothing else tells what is in it


def prepare(config: RunConfig, recipe: Recipe, splits: Splits[Pairs]) -> Prepared:
    """Everything that a network learns from."""
    augmentation, seed = config.augmentation, config.training.seed
    if not isinstance(augmentation, WordsAugmentation):
        raise ConfigError(f"{config.model} reads words; its augmentation is a {WordsAugmentation.__name__}")
    if config.linear_probe:
        raise ConfigError("a linear probe is for classifiers; --freeze 4 fixes a backbone")
    if config.max_objects is not None:
        raise ConfigError("a greatest number of objects is for detectors; leave it out")
    answers = known_answers(splits.train) if augmentation.questions else ()
    learnt = _learnt(splits.train, augmentation, answers)
    if not augmentation.questions_each:
        augmentation = replace(augmentation, questions_each=_ALONE if learnt == ("questions",) else 1)
    torch.manual_seed(seed)
    model = initial_model(config, recipe, ())
    tokenizer = ClipTokenizer()
    before = len(model.vocabulary)
    model.take_words({one for text in texts_of(splits.train) for one in tokenizer.encode(text)})
    model.config = replace(model.config, learnt=learnt, answers=answers)
    model.freeze(config.freeze)
    preprocessing = model.description.preprocessing
    assert isinstance(preprocessing, Preprocessing)
    train = WordDataset(splits.train, preprocessing, augmentation, model.vocabulary, answers, seed, config.on_corrupt)
    notes = [f"learns {', '.join(learnt)}; {counted(len(model.vocabulary), 'piece')} of words"]
    if before > 2 and len(model.vocabulary) > before:
        notes[0] += f", {len(model.vocabulary) - before} of them new"
    if answers:
        notes.append(f"chooses among {counted(len(answers), 'answer')}")
    notes += _unseen(splits, answers)
    return Prepared(DescribingTask(answers, splits.val, augmentation), model, train, splits.val, splits, tuple(notes))


def _learnt(train: Pairs, augmentation: WordsAugmentation, answers: Sequence[str]) -> tuple[str, ...]:
    """What there is to learn.

    Raises:
        DataError: nothing.
    """
    captions = any(one.captions for one in train.entries)
    there = {
        "captions": captions and augmentation.captions > 0,
        "pairs": captions and augmentation.pairs > 0,
        "questions": bool(answers),
    }
    found = tuple(name for name in LEARNT if there.get(name))
    if not found and not (captions and augmentation.masked):
        raise DataError(f"{train.name} has no captions and no answers for what is to be learnt; expected some")
    return found


def _unseen(splits: Splits[Any], answers: Sequence[str]) -> list[str]:
    """What validation asks and training does not teach."""
    known = frozenset(answers)
    asked = [spelled(question) for one in splits.val.entries for question in one.questions if question.answers]
    never = sum(known.isdisjoint(one) for one in asked)
    return [f"{never} of {len(asked)} validation questions have answers that no training question has"] if never else []
