"""A detector's run: data, initial weights, task."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from internimage.data.coco import ObjectImages, read_object_splits
from internimage.data.object_augmentation import ObjectAugmentation, object_transform
from internimage.data.object_dataset import ObjectDataset, too_small
from internimage.data.samples import Splits
from internimage.errors import ConfigError, DataError
from internimage.images import FitPreprocessing
from internimage.models.cascade_rcnn import CascadeRCNN
from internimage.models.mask_rcnn import MaskRCNN
from internimage.tasks.detection import DetectionTask
from internimage.training.config import RunConfig
from internimage.training.initial import initial_model
from internimage.training.trainer import Reporter, Trainer

_ONE_PIXEL = 32  # images up to this size end in a map of one pixel


def prepare_detection(
    config: RunConfig, folder: Path, reporter: Reporter, cpu: bool
) -> tuple[Trainer, Splits[ObjectImages]]:
    """The trainer of a detector; masks are learnt if the model predicts them and every object has one."""
    augmentation = config.augmentation
    if not isinstance(augmentation, ObjectAugmentation):
        raise ConfigError(f"{config.model} is a detector; its augmentation is an {ObjectAugmentation.__name__}")
    if config.linear_probe:
        raise ConfigError("a linear probe is for classifiers; --freeze 4 fixes a detector's backbone")
    splits = read_object_splits(Path(config.data), val_fraction=config.val_fraction, seed=config.training.seed)
    for part in (splits.train, splits.val):
        if not sum(part.counts()):
            raise DataError(f"{part.name} has no objects; training needs some to learn from and some to measure with")
        if config.on_corrupt == "error" and (missing := part.missing()):
            raise DataError(
                f"{part.name}: {len(missing)} of {len(part)} images are not there, such as {missing[0]} (--on-corrupt "
                "skip leaves them out)"
            )
    largest = augmentation.long * max(augmentation.jitter) if augmentation.jitter else augmentation.long
    frame = FitPreprocessing(round(largest) if augmentation.jitter else max(augmentation.short_sides), round(largest))
    if small := too_small(splits.train, frame):
        total = sum(splits.train.counts())
        text = f"{splits.train.name}: {small} of {total} objects are smaller than a pixel"
        if small == total:
            raise DataError(f"{text} in training, whose pictures fit {frame.short}x{frame.long}; pass a larger --size")
        warnings.warn(f"{text} in training and are not learnt", stacklevel=2)
    torch.manual_seed(config.training.seed)
    model = initial_model(config, splits.train.classes)
    if isinstance(model, MaskRCNN | CascadeRCNN) and not splits.train.has_masks:
        model.remove_masks()
    model.backbone.freeze(config.freeze)
    masks = isinstance(model, MaskRCNN | CascadeRCNN) and model.config.mask_width is not None
    assert model.description is not None
    preprocessing = model.description.preprocessing
    assert isinstance(preprocessing, FitPreprocessing)
    if min(config.training.batch_size, len(splits.train)) == 1 and preprocessing.short <= _ONE_PIXEL:
        raise ConfigError(
            f"one image of {preprocessing.short} pixels a batch gives batch normalisation a single value; use a larger "
            "batch or size"
        )
    train = ObjectDataset(
        splits.train,
        object_transform(augmentation, preprocessing),
        masks=masks,
        seed=config.training.seed,
        on_corrupt=config.on_corrupt,
    )
    val = ObjectDataset(splits.val, preprocessing=preprocessing, on_corrupt=config.on_corrupt)
    task = DetectionTask(splits.val, masks=masks and splits.val.has_masks)
    return Trainer(task, model, train, val, config.training, folder, reporter, cpu=cpu), splits
