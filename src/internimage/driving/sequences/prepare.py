"""A run that learns from frames in a row: data, initial weights, task."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import torch

from internimage.contracts import Prepared
from internimage.data.splits import Splits
from internimage.driving.augmentation.settings import SceneAugmentation
from internimage.driving.data.frames import NUSCENES_CAMERAS, Frames
from internimage.driving.sequences.settings import DriveAugmentation
from internimage.driving.sequences.task import SequenceTask
from internimage.errors import ConfigError, DataError
from internimage.images import FitPreprocessing
from internimage.recipes import Recipe
from internimage.settings.training import RunConfig
from internimage.training.initial import initial_model
from internimage.writing import counted


def prepare_sequences(kind: type[SequenceTask], config: RunConfig, recipe: Recipe, splits: Splits[Frames]) -> Prepared:
    """Everything that a network learns from.

    Raises:
        ConfigError: settings of another kind of network.
        DataError: there is nothing to learn from or to measure with.
    """
    augmentation, seed = config.augmentation, config.training.seed
    if not isinstance(augmentation, DriveAugmentation):
        raise ConfigError(f"{config.model} finds {kind.noun}; its augmentation is a {DriveAugmentation.__name__}")
    if augmentation.scene != SceneAugmentation() and not kind.takes_scene:
        raise ConfigError(
            f"{augmentation.scene}: pictures and ground are shown in other ways to a BEVFormer v2 alone; leave it out"
        )
    if config.linear_probe:
        raise ConfigError("a linear probe is for classifiers; --freeze 4 fixes a backbone")
    if config.channels not in (None, 3):
        raise ConfigError(f"{config.channels} channels: networks that find {kind.noun} take RGB; leave it out")
    for part in (splits.train, splits.val):
        kind.look_over(part)
    torch.manual_seed(seed)
    model = initial_model(config, recipe, splits.train.classes)
    if config.max_objects is not None:
        model = model.keeping(config.max_objects)
    if not model.config.remembers:
        augmentation = replace(augmentation, queue=1)
    notes = (*_cameras(model, splits), *_history(model, augmentation))
    model.freeze(config.freeze)
    preprocessing = model.description.preprocessing
    assert isinstance(preprocessing, FitPreprocessing)
    targets = kind.targets(model.config, splits.train)
    kind.fit(model, splits.train, anew=config.init == "scratch")
    train = kind.dataset(
        splits.train, model.config, preprocessing, augmentation, targets, seed=seed, on_corrupt=config.on_corrupt
    )
    task = kind(model.config, splits.val, augmentation)
    task.prepare(splits.train)
    return Prepared(task, model, train, splits.val, splits, notes)


def _history(model: Any, augmentation: DriveAugmentation) -> tuple[str, ...]:
    """Let the model remember in prediction what it remembers in training; what to say of it."""
    if model.config.remembers:
        model.config = replace(model.config, history=augmentation.queue > 1)
    moments = model.config.moments
    if len(moments) > 1:
        return (f"frames that are seen together: {', '.join(f'{moment:+d}' if moment else '0' for moment in moments)}",)
    if model.config.remembers and augmentation.queue > 1:
        return ()
    return ("each frame is seen alone: no history, in training as in prediction",)


def _cameras(model: object, splits: Splits[Frames]) -> tuple[str, ...]:
    """Give the model the data's cameras; what to say of them."""
    seen = Counter(name for names in splits.train.channels for name in names)
    names = [name for name in NUSCENES_CAMERAS if name in seen] + sorted(set(seen) - set(NUSCENES_CAMERAS))
    before = model.config.cameras  # type: ignore[attr-defined]
    model.take_cameras(tuple(names))  # type: ignore[attr-defined]
    known = set(names)
    if blind := [number for number, own in enumerate(splits.val.channels) if known.isdisjoint(own)]:
        scene = min(splits.val.frames[number].scene for number in blind)
        raise DataError(
            f"{splits.val.name}: {scene} has none of the cameras of {splits.train.name}: {', '.join(names)}"
        )
    notes = [f"{counted(len(names), 'camera')}: {', '.join(names)}"] if tuple(names) != before else []
    frames = len(splits.train)
    if partly := [f"{name} in {frames - seen[name]}" for name in names if seen[name] < frames]:
        notes.append(f"of {frames} training frames cameras are missing: {', '.join(partly)}")
    return tuple(notes)
