"""A segmenter's run: data, initial weights, task."""

from __future__ import annotations

from dataclasses import replace

import torch

from internimage.contracts import Prepared
from internimage.data.checking import turned_notes
from internimage.data.dataset import OnCorrupt
from internimage.data.masks import SegmentedImages
from internimage.data.splits import Splits
from internimage.errors import ConfigError, DataError, ImageReadError
from internimage.images import FitPreprocessing
from internimage.images.masks import UNKNOWN
from internimage.recipes import Recipe
from internimage.settings.segmentation import SegmentationAugmentation
from internimage.settings.training import RunConfig
from internimage.tasks.segmentation.augmentation import TrainingTransform
from internimage.tasks.segmentation.dataset import SegmentationDataset
from internimage.tasks.segmentation.task import SegmentationTask
from internimage.training.initial import initial_model

_LOOK_AT = 50  # masks


def prepare(config: RunConfig, recipe: Recipe, splits: Splits[SegmentedImages]) -> Prepared:
    """Everything that a segmenter learns from."""
    augmentation, seed = config.augmentation, config.training.seed
    if not isinstance(augmentation, SegmentationAugmentation):
        raise ConfigError(f"{config.model} is a segmenter; its augmentation is a {SegmentationAugmentation.__name__}")
    if config.linear_probe:
        raise ConfigError("a linear probe is for classifiers; --freeze 4 fixes a segmenter's backbone")
    if config.max_objects is not None:
        raise ConfigError("a greatest number of objects is for detectors; leave it out")
    for part in (splits.train, splits.val):
        look_at_some(part, config.on_corrupt)
    torch.manual_seed(seed)
    model = initial_model(config, recipe, splits.train.classes)
    model.freeze(config.freeze)
    if min(config.training.batch_size, len(splits.train)) < model.smallest_batch:
        raise ConfigError(
            f"{type(model).__name__} normalises a mean of each image over the batch; use a batch of "
            f"{model.smallest_batch} images or more"
        )
    model.description = replace(model.description, palette=splits.train.palette)
    preprocessing = model.description.preprocessing
    assert isinstance(preprocessing, FitPreprocessing)
    transform = TrainingTransform(augmentation, preprocessing)
    train = SegmentationDataset(splits.train, transform, seed, config.on_corrupt, preprocessing.read)
    return Prepared(
        SegmentationTask(splits.val),
        model,
        train,
        splits.val,
        splits,
        tuple(turned_notes(splits, "masks")),
    )


def look_at_some(part: SegmentedImages, on_corrupt: OnCorrupt) -> None:
    """What would end a run is noticed here instead of after the first epoch."""
    missing = part.missing()
    if missing and on_corrupt == "error":
        raise DataError(
            f"{len(missing)} of the {len(part)} pictures in {part.name} have no mask, such as {missing[0].file}, whose "
            f"mask would be {missing[0].mask}; --on-corrupt skip leaves them out"
        )
    known = False
    for number, image in enumerate(part.images[:: -(-len(part) // _LOOK_AT)]):
        try:
            known = known or bool((part.truth(image) != UNKNOWN).any())
        except ImageReadError as error:
            if on_corrupt == "error" and not number:
                raise DataError(f"{error} (internimage data check looks at all of them)") from error
        if known:
            return
    raise DataError(
        f"{part.name}: all pixels of {min(_LOOK_AT, len(part))} masks are unknown; do the numbers in classes.json or "
        "classes.txt fit the masks? internimage data check shows both"
    )
