"""A run that learns boxes in space: data, initial weights, task."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import torch

from internimage.contracts import Prepared
from internimage.data.splits import Splits
from internimage.driving.boxes3d.dataset import BoxDataset
from internimage.driving.boxes3d.settings import BoxAugmentation
from internimage.driving.boxes3d.task import BoxTask
from internimage.driving.data.frames import NUSCENES_CAMERAS, Frames
from internimage.errors import ConfigError, DataError
from internimage.images import FitPreprocessing
from internimage.recipes import Recipe
from internimage.settings.training import RunConfig
from internimage.training.initial import initial_model
from internimage.writing import counted


def prepare(config: RunConfig, recipe: Recipe, splits: Splits[Frames]) -> Prepared:
    """Everything that a network learns from."""
    augmentation, seed = config.augmentation, config.training.seed
    if not isinstance(augmentation, BoxAugmentation):
        raise ConfigError(f"{config.model} finds boxes in space; its augmentation is a {BoxAugmentation.__name__}")
    if config.linear_probe:
        raise ConfigError("a linear probe is for classifiers; --freeze 4 fixes a backbone")
    if config.channels not in (None, 3):
        raise ConfigError(f"{config.channels} channels: networks that find boxes in space take RGB; leave it out")
    for part in (splits.train, splits.val):
        _look_over(part)
    torch.manual_seed(seed)
    model = initial_model(config, recipe, splits.train.classes)
    if config.max_objects is not None:
        model = model.keeping(config.max_objects)
    notes = (*_cameras(model, splits), *_history(model, augmentation))
    model.freeze(config.freeze)
    preprocessing = model.description.preprocessing
    assert isinstance(preprocessing, FitPreprocessing)
    train = BoxDataset(splits.train, model.config, preprocessing, augmentation, seed=seed, on_corrupt=config.on_corrupt)
    return Prepared(BoxTask(model.config, splits.val, augmentation), model, train, splits.val, splits, notes)


def _look_over(part: Frames) -> None:
    """What would end a run, or teach nothing, is said before it starts."""
    unseen = [frame for frame in part.frames if frame.truth is None]
    if unseen:
        raise DataError(
            f"{part.name}: nobody looked for boxes in {len(unseen)} of {len(part)} frames, such as {unseen[0].token}; "
            "expected annotations of all of them"
        )
    if not sum(part.counts()):
        raise DataError(f"{part.name} has no boxes; training needs some to learn from and some to measure with")


def _history(model: Any, augmentation: BoxAugmentation) -> tuple[str, ...]:
    """Let the model remember in prediction what it remembers in training; what to say of it."""
    model.config = replace(model.config, history=augmentation.queue > 1)
    if augmentation.queue > 1:
        return ()
    return ("each frame is seen alone: no history, in training as in prediction",)


def _cameras(model: object, splits: Splits[Frames]) -> tuple[str, ...]:
    """Give the model the data's cameras; what to say of them."""
    seen = Counter(camera.channel for frame in splits.train.frames for camera in frame.cameras)
    names = [name for name in NUSCENES_CAMERAS if name in seen] + sorted(set(seen) - set(NUSCENES_CAMERAS))
    before = model.config.cameras  # type: ignore[attr-defined]
    model.take_cameras(tuple(names))  # type: ignore[attr-defined]
    if blind := sorted({f.scene for f in splits.val.frames if not {one.channel for one in f.cameras} & set(names)}):
        raise DataError(
            f"{splits.val.name}: {blind[0]} has none of the cameras of {splits.train.name}: {', '.join(names)}"
        )
    notes = [f"{counted(len(names), 'camera')}: {', '.join(names)}"] if tuple(names) != before else []
    frames = len(splits.train)
    if partly := [f"{name} in {frames - seen[name]}" for name in names if seen[name] < frames]:
        notes.append(f"of {frames} training frames cameras are missing: {', '.join(partly)}")
    return tuple(notes)
