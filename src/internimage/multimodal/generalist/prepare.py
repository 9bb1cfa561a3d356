"""A run that learns several tasks: data, initial weights, lessons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import torch

from internimage.contracts import Balance, Prepared
from internimage.data.splits import Splits
from internimage.errors import ConfigError, DataError
from internimage.images import FitPreprocessing, Preprocessing
from internimage.multimodal.describing.answers import known_answers, texts_of
from internimage.multimodal.describing.dataset import WordDataset
from internimage.multimodal.generalist.data import DataSet, Sets
from internimage.multimodal.generalist.lessons import Lesson, LessonDataset, OneTaskAStep, make_lessons
from internimage.multimodal.generalist.settings import LEARNT, GeneralistAugmentation
from internimage.multimodal.generalist.task import GeneralistTask
from internimage.recipes import Recipe
from internimage.settings.training import RunConfig
from internimage.tasks.classification.augmentation import training_transform
from internimage.tasks.classification.dataset import ClassificationDataset
from internimage.tasks.detection.augmentation import object_transform
from internimage.tasks.detection.dataset import DetectionDataset
from internimage.training.initial import initial_model
from internimage.writing import counted


def prepare(config: RunConfig, recipe: Recipe, splits: Splits[Sets]) -> Prepared:
    """Everything that a network learns from."""
    augmentation, seed, train = config.augmentation, config.training.seed, splits.train
    if not isinstance(augmentation, GeneralistAugmentation):
        raise ConfigError(
            f"{config.model} learns several tasks; its augmentation is a {GeneralistAugmentation.__name__}"
        )
    _refuse(config, train)
    answers = known_answers(_joined(train)) if augmentation.questions else ()
    lessons = make_lessons(train, augmentation, answers)
    if config.training.batch_size == 1 and any(one.task == "pairs" for one in lessons):
        raise ConfigError(
            "pictures of a batch are found among each other; expected --batch-size 2 or more, or --pairs 0"
        )
    torch.manual_seed(seed)
    model = initial_model(config, recipe, ())
    notes = [] if augmentation.text_tower is None else [_give_tower(model, augmentation)]
    names, objects = _classes(train, "names", lessons), _classes(train, "objects", lessons)
    tokenizer = model.tokenizer
    every = [*_texts(train), *answers, *names, *objects]
    model.take_words({one for text in every for one in tokenizer.encode(text)})
    learnt = tuple(task for task in LEARNT if task != "masked" and any(one.task == task for one in lessons))
    model.config = replace(model.config, learnt=learnt, answers=answers, names=names, objects=objects)
    model.freeze(config.freeze)
    fit = model.description.preprocessing
    square = model.for_words().description.preprocessing
    others = model, answers, seed, config.on_corrupt
    samples = [_dataset(_taught(train, one), augmentation, fit, square, others) for one in lessons]
    own = {
        number: [tokenizer.encode(name) for name in one.part.classes]
        for number, one in enumerate(train.sets)
        if one.kind != "words"
    }
    ids = [tokenizer.encode(answer) for answer in answers]
    task = GeneralistTask(lessons, own, ids, splits.val, augmentation.words())
    sizes, shares = zip(*((len(one.places), one.share) for one in lessons), strict=True)
    return Prepared(
        task,
        model,
        LessonDataset(samples),
        splits.val,
        splits,
        (*notes, *_told(lessons, train, model)),
        OneTaskAStep(sizes, shares, len(train)),
        Balance(shares, attrgetter("task")),
    )


def _refuse(config: RunConfig, train: Sets) -> None:
    """Raise :class:`ConfigError` for what does not go together."""
    if config.linear_probe:
        raise ConfigError("a linear probe is for classifiers; --freeze 4 fixes a backbone")
    if config.max_objects is not None:
        raise ConfigError("a greatest number of objects is for detectors; leave it out")
    if config.training.sampling != "uniform":
        raise ConfigError(f"--sampling {config.training.sampling}: each step draws a task, and of it pictures evenly")
    for one in train.sets:
        if one.kind == "objects" and not one.part.has_masks:
            raise DataError(
                f"{one.name}: some objects have no masks, which regions are read by; draw masks (internimage masks), "
                "or leave the objects out (--objects 0 and their annotations elsewhere)"
            )


def _joined(train: Sets) -> Any:
    """All sets with words as one."""
    parts = [one.part for one in train.sets if one.kind == "words"]
    if not parts:
        from internimage.multimodal.data.pairs import Pairs

        return Pairs(train.name, ())
    return replace(parts[0], described=tuple(entry for part in parts for entry in part.entries))


def _give_tower(model: Any, augmentation: GeneralistAugmentation) -> str:
    """Have the model read with a trained tower; what is said of it."""
    from internimage.text.tower import TextTower

    name, scale = augmentation.text_tower, augmentation.text_tower_lr_scale
    assert name is not None
    model.take_tower(TextTower.load(name))
    model.slower = {"text.tower.": scale}
    return f"reads with {name}, a {model.text.tower.kind}, which learns at {scale:g} of the rate"


def _classes(train: Sets, kind: str, lessons: Sequence[Lesson]) -> tuple[str, ...]:
    """Names of the classes of all sets of a kind that are learnt, each once."""
    taught = {lesson.number for lesson in lessons}
    parts = [one.part for number, one in enumerate(train.sets) if one.kind == kind and number in taught]
    return tuple(dict.fromkeys(name for part in parts for name in part.classes))


def _texts(train: Sets) -> Iterable[str]:
    for one in train.sets:
        if one.kind == "words":
            yield from texts_of(one.part)


def _taught(train: Sets, lesson: Lesson) -> DataSet:
    """The set of a lesson with the entries that teach it."""
    one = train.sets[lesson.number]
    entries = one.part.entries
    if len(lesson.places) == len(entries):
        return one
    return replace(one, part=one.part.with_entries([entries[place] for place in lesson.places], one.part.name))


def _dataset(
    one: DataSet,
    augmentation: GeneralistAugmentation,
    fit: FitPreprocessing,
    square: Preprocessing,
    others: tuple[Any, tuple[str, ...], int, Any],
) -> Any:
    """What makes samples of a data set."""
    model, answers, seed, on_corrupt = others
    if one.kind == "words":
        words = augmentation.words()
        return WordDataset(
            one.part, square, words, model.vocabulary, answers, seed, on_corrupt, tokenizer=model.tokenizer
        )
    if one.kind == "names":
        transform = training_transform(augmentation.pictures(), square)
        return ClassificationDataset(one.part, transform, seed, on_corrupt, square.read)
    boxes = object_transform(augmentation.boxes(), fit)
    return DetectionDataset(one.part, boxes, masks=True, seed=seed, on_corrupt=on_corrupt, read=fit.read)


def _told(lessons: Sequence[Lesson], train: Sets, model: Any) -> list[str]:
    shares = [f"{train.sets[one.number].name} {one.task} {one.share:.0%}" for one in lessons]
    told = [f"a step learns one task: {', '.join(shares)}; {counted(len(model.vocabulary), 'piece')} of words"]
    if model.config.answers:
        told.append(f"chooses among {counted(len(model.config.answers), 'answer')}")
    return told
