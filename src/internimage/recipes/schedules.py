"""Building blocks of the released training configurations; each model's row says which of them it was trained with.

Classifiers: values are those of the released ``configs/*.yaml`` merged over ``config.py``; learning rates hold for 512
images an update and are scaled in proportion.  Three things differ.  RandAugment is torchvision's, whose magnitude 27
of 30 is the published 9 of 10, without the noise on the magnitude.  Erased rectangles are grey instead of noise.
Precision is bfloat16 where the released script runs float16.

Detectors: 16 images an update, AdamW, the rate falls to a tenth twice, precision float32; the 500 updates of warm-up
are given as a share of an epoch of the data.  Rates of those with 4 or 8 images a process hold for eight processes.
Those of COCO after Objects365 name no weights to begin with for InternImage-H and G; here it is the released detector.
That of Pascal VOC asks for shorter sides of 600 to 1200 where mmdet's ``RepeatDataset`` does not look, so its detector
may have seen pictures that fit 600x1000.  That of LVIS asks for a loss over a choice of classes that the released code
never computes; here, too, all are in it.  All leave out pictures without objects; here class-aware and repeat-factor
sampling do.

What is not in a released configuration but in the paper: pre-training on Objects365 (epochs, rate, images an update,
sides), CrowdHuman after it (updates), BDD100K (epochs and start), Places (as ImageNet-1K).  The rest of these is as in
the released ones nearest to them, and is not known of theirs.

Segmenters: 16 images an update; the published numbers of updates, 1,500 of them of warm-up, are given as epochs of the
data that they were trained on, rounded to whole ones.  Colours are varied in half of the images, all four at once,
where the released code draws for each.

In every function here ``init`` is the model that training began with, ``drop_path`` the stochastic depth of the last
block, and ``changes`` are other values of :class:`TrainingConfig`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from internimage.recipes.recipe import TrainingRecipe
from internimage.settings.classification import ClassificationAugmentation
from internimage.settings.detection import DetectionAugmentation
from internimage.settings.segmentation import SegmentationAugmentation
from internimage.settings.training import TrainingConfig

# Classifiers

_SCRATCH = TrainingConfig(
    epochs=300,
    batch_size=128,
    lr=5e-4,
    lr_batch_size=512,
    weight_decay=0.05,
    warmup_epochs=20,
    warmup_start=1e-3,
    end_lr=1e-2,
    clip_norm=5.0,
    ema_decay=0.9999,
    ema_warmup=False,
    precision="bf16",
    workers=8,
)
_FINE_TUNING = replace(
    _SCRATCH,
    epochs=20,
    lr=2e-5,
    warmup_epochs=2,
    warmup_start=0.0,
    end_lr=0.0,
    layer_decay=0.9,
    deformable_lr_scale=0.1,
    gradient_checkpointing=True,
)
_STRONG = ClassificationAugmentation(
    min_scale=0.08, rand_augment=27, erasing=0.25, mixup=0.8, cutmix=1.0, label_smoothing=0.1
)
_WEAK = replace(_STRONG, erasing=0.0, mixup=0.0, cutmix=0.0, label_smoothing=0.3)


def from_scratch(drop_path: float) -> TrainingRecipe:
    """300 epochs of ImageNet-1K."""
    return TrainingRecipe("scratch", replace(_SCRATCH, drop_path=drop_path), _STRONG)


def fine_tuned(init: str, drop_path: float, **changes: Any) -> TrainingRecipe:
    """20 epochs, from weights of more classes."""
    return TrainingRecipe(init, replace(_FINE_TUNING, drop_path=drop_path, **changes), _WEAK)


# Detectors

# training pictures with objects, as far as their number is known, else with annotations
COCO, CROWD_HUMAN, BDD100K, LVIS, VOC = 117_266, 15_000, 69_863, 100_170, 16_551
OBJECTS365, OPEN_IMAGES = 1_742_289, 1_743_042

_DETECTOR = TrainingConfig(
    epochs=12,
    batch_size=2,
    lr=1e-4,
    lr_batch_size=16,
    weight_decay=0.05,
    warmup_start=1e-3,
    lr_drops=(8, 11),
    published_groups=True,
    clip_norm=0.0,
    ema_decay=0.0,
    workers=2,
)
_LONG_DETECTOR = replace(_DETECTOR, epochs=36, lr_drops=(27, 33))
_DINO = replace(_DETECTOR, lr_drops=(11,), weight_decay=1e-4, clip_norm=0.1)
_LARGE_DINO = replace(
    _DINO,
    epochs=3,
    updates=20_000,
    warmup_updates=500,
    batch_size=1,
    lr_drops=(),
    end_lr=1.0,
    layer_decay=0.94,
    deformable_lr_scale=1e-3,
    drop_path=0.5,
)
_ONE_SCALE = DetectionAugmentation()
_MULTI_SCALE = DetectionAugmentation(short_sides=tuple(range(480, 801, 32)), crop=True)


def _warmed_up(training: TrainingConfig, pictures: int = COCO) -> TrainingConfig:
    """500 updates of warm-up, whatever the number of images in each."""
    return replace(training, warmup_epochs=500 / -(-pictures // training.lr_batch_size))


def detector_1x(init: str, drop_path: float, **changes: Any) -> TrainingRecipe:
    """12 epochs of COCO, whole images at one scale."""
    training = replace(_DETECTOR, drop_path=drop_path, **changes)
    return TrainingRecipe(init, _warmed_up(training), _ONE_SCALE)


def detector_3x(init: str, drop_path: float, *, pictures: int = COCO, **changes: Any) -> TrainingRecipe:
    """36 epochs of so many ``pictures``, crops at many scales."""
    training = replace(_LONG_DETECTOR, drop_path=drop_path, **changes)
    return TrainingRecipe(init, _warmed_up(training, pictures), _MULTI_SCALE)


def dino_1x(init: str, drop_path: float, *, pictures: int = COCO, **changes: Any) -> TrainingRecipe:
    """12 epochs of so many ``pictures``, crops at many scales."""
    training = replace(_DINO, drop_path=drop_path, **changes)
    return TrainingRecipe(init, _warmed_up(training, pictures), _MULTI_SCALE)


def dino_large(init: str, pictures: int, *, largest: int = 1200, **changes: Any) -> TrainingRecipe:
    """20,000 updates, if not changed, on so many ``pictures`` whose shorter side has 600 to ``largest`` pixels."""
    augmentation = DetectionAugmentation(short_sides=(600, largest), long=2000, every_side=True)
    training = _warmed_up(replace(_LARGE_DINO, **changes), pictures)
    return TrainingRecipe(init, training, augmentation)


# Segmenters

# training images of each data set; those of MORE_CITIES are Cityscapes with its coarsely labelled ones
ADE20K, CITYSCAPES, MORE_CITIES, MAPILLARY = 20_210, 2_975, 22_973, 20_000
COCO_STUFF, COCO_STUFF_10K, PASCAL_CONTEXT, NYU = 118_287, 9_000, 4_996, 795

# what changes with the size of the backbone: L and XL, then H and G
LARGE: dict[str, Any] = {"lr": 2e-5, "layer_decay": 0.94, "clip_norm": 0.1}
HUGE: dict[str, Any] = {"lr": 2e-5, "layer_decay": 0.95, "clip_norm": 0.1, "batch_size": 1}

_SEGMENTER = TrainingConfig(
    batch_size=2,
    lr=6e-5,
    lr_batch_size=16,
    weight_decay=0.05,
    warmup_start=1e-6,
    lr_power=1.0,
    published_groups=True,
    clip_norm=0.0,
    ema_decay=0.0,
    workers=4,
)


def square(side: int) -> SegmentationAugmentation:
    """Crops of ``side`` x ``side`` pixels, of pictures whose shorter side has half to twice as many."""
    return SegmentationAugmentation(crop=(side, side), short=side, long=4 * side)


STREET = SegmentationAugmentation(crop=(512, 1024), short=1024, long=2048)
WHOLE_STREET = replace(STREET, scale=(0.5, 1.0))


def segmenter(
    init: str,
    *,
    images: int,
    updates: int,
    evaluated: int,
    drop_path: float,
    augmentation: SegmentationAugmentation,
    **changes: Any,
) -> TrainingRecipe:
    """So many ``updates`` on so many ``images``, ``evaluated`` being the updates from one evaluation to the next."""
    epoch = images / 16
    epochs = round(updates / epoch)
    training = replace(
        _SEGMENTER,
        epochs=epochs,
        warmup_epochs=1500 / epoch,
        evaluate_every=min(epochs, max(1, round(evaluated / epoch))),
        drop_path=drop_path,
    )
    return TrainingRecipe(init, replace(training, **changes), augmentation)
