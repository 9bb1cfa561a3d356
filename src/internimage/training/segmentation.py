"""A segmenter's run: data, initial weights, task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from internimage.data.dataset import OnCorrupt
from internimage.data.region_augmentation import RegionAugmentation, TrainingTransform
from internimage.data.region_dataset import RegionDataset
from internimage.data.regions import RegionImages, read_region_splits
from internimage.data.samples import Splits
from internimage.errors import ConfigError, DataError, ImageReadError
from internimage.images import FitPreprocessing
from internimage.images.masks import UNKNOWN
from internimage.models.upernet import UperNet
from internimage.tasks.segmentation import SegmentationTask
from internimage.training.config import RunConfig
from internimage.training.initial import initial_model, leave_out_unreadable
from internimage.training.trainer import Reporter, Trainer

_LOOK_AT = 50  # masks


def prepare_segmentation(
    config: RunConfig, folder: Path, reporter: Reporter, cpu: bool
) -> tuple[Trainer, Splits[RegionImages]]:
    """The trainer of a segmenter."""
    augmentation = config.augmentation
    if not isinstance(augmentation, RegionAugmentation):
        raise ConfigError(f"{config.model} is a segmenter; its augmentation is a {RegionAugmentation.__name__}")
    if config.linear_probe:
        raise ConfigError("a linear probe is for classifiers; --freeze 4 fixes a segmenter's backbone")
    splits = read_region_splits(Path(config.data), val_fraction=config.val_fraction, seed=config.training.seed)
    for part in (splits.train, splits.val):
        _look_at_some(part, config.on_corrupt)
    torch.manual_seed(config.training.seed)
    model = initial_model(config, splits.train.classes)
    model.backbone.freeze(config.freeze)
    if isinstance(model, UperNet) and min(config.training.batch_size, len(splits.train)) == 1:
        raise ConfigError("UperNet normalises a mean of each image over the batch; use a batch of 2 images or more")
    model.description = replace(model.description, palette=splits.train.palette)
    preprocessing = model.description.preprocessing
    assert isinstance(preprocessing, FitPreprocessing)
    seed = config.training.seed
    train = RegionDataset(splits.train, TrainingTransform(augmentation, preprocessing), seed, config.on_corrupt)
    val = RegionDataset(splits.val, preprocessing, 0, config.on_corrupt)
    leave_out_unreadable(val)
    task = SegmentationTask(splits.train.classes, splits.train.palette, model.config.window)
    return Trainer(task, model, train, val, config.training, folder, reporter, cpu=cpu), splits


def _look_at_some(part: RegionImages, on_corrupt: OnCorrupt) -> None:
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
