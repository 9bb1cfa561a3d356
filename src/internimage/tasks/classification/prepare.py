"""A classifier's run: data, initial weights, task."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from internimage.contracts import Prepared
from internimage.data.checking import pages_notes
from internimage.data.formats.class_folders import EMPTY
from internimage.data.samples import LabelledImages
from internimage.data.splits import Splits
from internimage.errors import ConfigError, DataError
from internimage.factory import create_model
from internimage.images import Preprocessing
from internimage.labels import imagenet1k_wnids
from internimage.recipes import Recipe, get_recipe, list_models
from internimage.settings.classification import ClassificationAugmentation
from internimage.settings.training import RunConfig
from internimage.tasks.classification.augmentation import batch_mixing, training_transform
from internimage.tasks.classification.dataset import ClassificationDataset
from internimage.tasks.classification.task import ClassificationTask
from internimage.training.initial import check_architecture, initial_model

_ONE_PIXEL = 32  # images up to this size end in a map of one pixel


def prepare(config: RunConfig, recipe: Recipe, splits: Splits[LabelledImages]) -> Prepared:
    """Everything that a classifier learns from."""
    augmentation, seed = config.augmentation, config.training.seed
    if not isinstance(augmentation, ClassificationAugmentation):
        raise ConfigError(
            f"{config.model} is a classifier; its augmentation is a {ClassificationAugmentation.__name__}"
        )
    if config.linear_probe and config.init == "scratch":
        raise ConfigError("a linear probe of random features teaches nothing; choose weights to start from with --init")
    if config.max_objects is not None:
        raise ConfigError("a greatest number of objects is for detectors; leave it out")
    _look_over(splits, config.reading.allow_left_out)
    torch.manual_seed(seed)
    model = initial_classifier(config, recipe, splits.train.classes)
    if config.linear_probe:
        model.freeze_features()
    elif config.freeze:
        model.freeze(config.freeze)
    preprocessing = model.description.preprocessing
    assert isinstance(preprocessing, Preprocessing)
    if min(config.training.batch_size, len(splits.train)) == 1 and preprocessing.side <= _ONE_PIXEL:
        raise ConfigError(
            f"one image of {preprocessing.side} pixels a batch gives batch normalisation a single value; use a larger "
            "batch or size"
        )
    task = ClassificationTask(
        splits.val,
        augmentation.label_smoothing,
        batch_mixing(augmentation, len(splits.train.classes)),
        metadata=model.config.metadata_channels is not None,
    )
    transform = training_transform(augmentation, preprocessing)
    train = ClassificationDataset(splits.train, transform, seed, config.on_corrupt)
    return Prepared(task, model, train, splits.val, splits, tuple(pages_notes(splits)))


def _look_over(splits: Splits[LabelledImages], empty_too: bool) -> None:
    """Folders that are plainly no classes, and classes that were forgotten."""
    train = splits.train
    empty = [name for one in train.left_out if one.reason == EMPTY for name in one.names]
    if empty and not empty_too:
        raise DataError(
            f"{train.name}: the folders {', '.join(empty[:5])} are empty; fill them, remove them, or go on without "
            "these classes with --allow-left-out"
        )
    if len(train.classes) < 2:
        raise DataError(
            f"{train.name} has one class, {', '.join(train.classes)}: there is nothing to tell apart; expected two or "
            "more folders of one class each, for objects in the pictures COCO's JSON, for their pixels masks/"
        )
    if max(train.counts()) == 1 and len(train.classes) > 2:
        raise DataError(
            f"{train.name} has {len(train.classes)} classes of one picture each: they look like names of pictures or "
            "subjects; expected a folder for each class"
        )


def initial_classifier(config: RunConfig, recipe: Recipe, classes: tuple[str, ...]) -> Any:
    """See :func:`initial_model`; besides, ImageNet-1K models are fine-tuned from ImageNet-22K's with their rows.

    ImageNet-1K's folders are named by WordNet id; the classifier keeps the rows of its classes.
    """
    kept = config.init in list_models() and get_recipe(config.init).labels == "imagenet22k"
    if not kept or classes != imagenet1k_wnids():
        return initial_model(config, recipe, classes)
    check_architecture(get_recipe(config.init).config, recipe, config.init)
    model: Any = create_model(config.init, pretrained=True, labels="imagenet1k")
    model.description = dataclasses.replace(
        model.description,
        labels=classes,
        preprocessing=recipe.preprocessing.resized(config.size) if config.size else recipe.preprocessing,
    )
    return model
