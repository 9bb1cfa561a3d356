"""A detector's run: data, initial weights, task."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import torch

from internimage.contracts import Prepared
from internimage.data.checking import turned_notes
from internimage.data.objects import ObjectImages
from internimage.data.splits import Splits
from internimage.errors import ConfigError, DataError
from internimage.images import FitPreprocessing
from internimage.metrics.coco import COUNTED
from internimage.recipes import Recipe
from internimage.settings.detection import DetectionAugmentation
from internimage.settings.training import RunConfig
from internimage.tasks.detection.augmentation import object_transform
from internimage.tasks.detection.dataset import DetectionDataset, too_small
from internimage.tasks.detection.task import DetectionTask
from internimage.training.initial import initial_model

_ONE_PIXEL = 32  # images up to this size end in a map of one pixel


def prepare(config: RunConfig, recipe: Recipe, splits: Splits[ObjectImages]) -> Prepared:
    """Everything that a detector learns from; masks are learnt if it predicts them and every object has one."""
    augmentation, seed = config.augmentation, config.training.seed
    if not isinstance(augmentation, DetectionAugmentation):
        raise ConfigError(f"{config.model} is a detector; its augmentation is a {DetectionAugmentation.__name__}")
    if config.linear_probe:
        raise ConfigError("a linear probe is for classifiers; --freeze 4 fixes a detector's backbone")
    _look_over(splits, augmentation, config)
    torch.manual_seed(seed)
    model = initial_model(config, recipe, splits.train.classes)
    without = model.has_masks and not splits.train.has_masks
    if without:
        model.remove_masks()
    if config.max_objects is not None:
        model = model.keeping(config.max_objects)
    model.description = replace(model.description, category_ids=splits.train.category_ids)
    model.freeze(config.freeze)
    preprocessing = model.description.preprocessing
    assert isinstance(preprocessing, FitPreprocessing)
    if min(config.training.batch_size, len(splits.train)) == 1 and preprocessing.short <= _ONE_PIXEL:
        raise ConfigError(
            f"one image of {preprocessing.short} pixels a batch gives batch normalisation a single value; use a larger "
            "batch or size"
        )
    train = DetectionDataset(
        splits.train,
        object_transform(augmentation, preprocessing),
        masks=model.has_masks,
        seed=seed,
        on_corrupt=config.on_corrupt,
        read=preprocessing.read,
    )
    task = DetectionTask(splits.val, masks=model.has_masks and splits.val.has_masks)
    return Prepared(
        task,
        model,
        train,
        splits.val,
        splits,
        (
            _what_is_learnt(model.has_masks, splits, without),
            *_crowded(model.config.detections.keep, splits),
            *turned_notes(splits, "boxes and masks"),
        ),
    )


def _look_over(splits: Splits[ObjectImages], augmentation: DetectionAugmentation, config: RunConfig) -> None:
    """What would end a run, or teach nothing, is said before it starts."""
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


def _what_is_learnt(learnt: bool, splits: Splits[ObjectImages], without: bool) -> str:
    """Whether masks are, and if not why."""
    if learnt and splits.val.has_masks:
        return "boxes and masks are learnt and measured"
    if not learnt and not without:
        return "boxes are learnt; the model has no masks"
    what, part = ("measured", splits.val) if learnt else ("learnt", splits.train)
    table = part.table
    total, bare = int((~table.crowds).sum()), int((~table.crowds & ~table.with_shapes).sum())
    outlined = int((~table.crowds & table.outlined).sum())
    reason = f"{bare} of {total} objects have no mask" if bare else f"{outlined} of {total} are boxes"
    return f"boxes are {what}, masks are not: {reason}"


def _crowded(kept: int, splits: Splits[ObjectImages]) -> list[str]:
    """Pictures with more objects than the model reports, or than average precision counts."""
    notes = []
    for name, part in (("training", splits.train), ("validation", splits.val)):
        single = np.bincount(part.table.image_of[~part.table.crowds], minlength=len(part))
        most = int(single.max(initial=0))
        if beyond := int((single > kept).sum()):
            notes.append(
                f"{beyond} of {len(part)} {name} pictures have more than {kept} objects, up to {most}, and the "
                f"model reports {kept} at most; --max-objects {most} lets it report all"
            )
        elif beyond := int((single > COUNTED).sum()):
            notes.append(
                f"{beyond} of {len(part)} {name} pictures have more than {COUNTED} objects, of which COCO's average "
                f"precision counts {COUNTED}"
            )
    return notes
