"""The released training configurations: how each model was trained, by the name of its recipe.

Classifiers: values are those of the released ``configs/*.yaml`` merged over ``config.py``; learning rates hold for 512
images an update and are scaled in proportion.  Three things differ.  RandAugment is torchvision's, whose magnitude 27
of 30 is the published 9 of 10, without the noise on the magnitude.  Erased rectangles are grey instead of noise.
Precision is bfloat16 where the released script runs float16.

Detectors: 16 images an update, AdamW, the rate falls to a tenth twice, precision float32; the 500 updates of warm-up
are a share of COCO's epoch of 7,330.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from internimage.data.augmentation import Augmentation
from internimage.data.object_augmentation import ObjectAugmentation
from internimage.errors import UnknownModelError
from internimage.training.config import TrainingConfig


@dataclass(frozen=True)
class TrainingRecipe:
    """How one released model was trained.

    Attributes:
        model: its name.
        init: "scratch", or the name of the released model that it was fine-tuned from.
        training, augmentation: settings.
    """

    model: str
    init: str
    training: TrainingConfig
    augmentation: Augmentation | ObjectAugmentation


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
_STRONG = Augmentation(min_scale=0.08, rand_augment=27, erasing=0.25, mixup=0.8, cutmix=1.0, label_smoothing=0.1)
_WEAK = replace(_STRONG, erasing=0.0, mixup=0.0, cutmix=0.0, label_smoothing=0.3)


def _from_scratch(model: str, drop_path: float) -> TrainingRecipe:
    return TrainingRecipe(model, "scratch", replace(_SCRATCH, drop_path=drop_path), _STRONG)


def _fine_tuned(model: str, init: str, drop_path: float, training: TrainingConfig = _FINE_TUNING) -> TrainingRecipe:
    return TrainingRecipe(model, init, replace(training, drop_path=drop_path), _WEAK)


_DETECTOR = TrainingConfig(
    epochs=12,
    batch_size=2,
    lr=1e-4,
    lr_batch_size=16,
    weight_decay=0.05,
    warmup_epochs=500 / 7330,
    warmup_start=1e-3,
    lr_drops=(8, 11),
    published_groups=True,
    clip_norm=0.0,
    ema_decay=0.0,
    workers=2,
)
_LONG_CASCADE = {"lr": 2e-4, "layer_decay": 0.9, "ema_decay": 0.9999}
_PLAIN = ObjectAugmentation()
_MULTI_SCALE = ObjectAugmentation(short_sides=tuple(range(480, 801, 32)), crop=True)


def _detector(model: str, init: str, drop_path: float, **changes: Any) -> TrainingRecipe:
    """1x: 12 epochs of whole images at one scale; 3x: 36 epochs of crops at many."""
    long = "_3x_" in model
    training = replace(_DETECTOR, drop_path=drop_path)
    if long:
        training = replace(training, epochs=36, lr_drops=(27, 33))
    return TrainingRecipe(model, init, replace(training, **changes), _MULTI_SCALE if long else _PLAIN)


TRAINING_RECIPES = {
    recipe.model: recipe
    for recipe in (
        _from_scratch("internimage_t_1k_224", 0.1),
        _from_scratch("internimage_s_1k_224", 0.4),
        _from_scratch("internimage_b_1k_224", 0.5),
        _fine_tuned("internimage_l_22kto1k_384", "internimage_l_22k_192to384", 0.1),
        _fine_tuned("internimage_xl_22kto1k_384", "internimage_xl_22k_192to384", 0.2),
        _fine_tuned("internimage_h_22kto1k_384", "internimage_h_jointto22k_384", 0.2),
        _fine_tuned("internimage_h_22kto1k_640", "internimage_h_jointto22k_384", 0.2),
        _fine_tuned("internimage_g_22kto1k_512", "internimage_g_pretrainto22k_384", 0.4),
        _fine_tuned(
            "internimage_h_22ktoinat18_384",
            "internimage_h_jointto22k_384",
            0.6,
            replace(_FINE_TUNING, epochs=100, warmup_epochs=0, ema_decay=0.0, layer_decay=1.0, deformable_lr_scale=1.0),
        ),
        _detector("mask_rcnn_internimage_t_fpn_1x_coco", "internimage_t_1k_224", 0.2),
        _detector("mask_rcnn_internimage_t_fpn_3x_coco", "internimage_t_1k_224", 0.2),
        _detector("mask_rcnn_internimage_s_fpn_1x_coco", "internimage_s_1k_224", 0.3),
        _detector("mask_rcnn_internimage_s_fpn_3x_coco", "internimage_s_1k_224", 0.3),
        _detector("mask_rcnn_internimage_b_fpn_1x_coco", "internimage_b_1k_224", 0.4),
        _detector("mask_rcnn_internimage_b_fpn_3x_coco", "internimage_b_1k_224", 0.4),
        _detector("cascade_internimage_l_fpn_1x_coco", "internimage_l_22k_192to384", 0.4, layer_decay=0.94),
        _detector("cascade_internimage_xl_fpn_1x_coco", "internimage_xl_22k_192to384", 0.4, layer_decay=0.94),
        _detector("cascade_internimage_l_fpn_3x_coco", "internimage_l_22k_192to384", 0.4, **_LONG_CASCADE),
        _detector("cascade_internimage_xl_fpn_3x_coco", "internimage_xl_22k_192to384", 0.6, **_LONG_CASCADE),
        _detector(
            "cascade_internimage_xl_fpn_3x_crowd_human",
            "internimage_xl_22k_192to384",
            0.4,
            layer_decay=0.94,
            weight_decay=1e-4,
        ),
    )
}


def get_training_recipe(name: str) -> TrainingRecipe:
    """The recipe of a released model.

    Raises:
        UnknownModelError: none of that name was released.
    """
    try:
        return TRAINING_RECIPES[name]
    except KeyError:
        raise UnknownModelError(
            f"no training recipe was released for {name!r}; there are {', '.join(TRAINING_RECIPES)}"
        ) from None
