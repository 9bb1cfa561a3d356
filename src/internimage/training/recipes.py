"""The released training configurations: how each model was trained, by the name of its recipe.

Classifiers: values are those of the released ``configs/*.yaml`` merged over ``config.py``; learning rates hold for 512
images an update and are scaled in proportion.  Three things differ.  RandAugment is torchvision's, whose magnitude 27
of 30 is the published 9 of 10, without the noise on the magnitude.  Erased rectangles are grey instead of noise.
Precision is bfloat16 where the released script runs float16.

Detectors: 16 images an update, AdamW, the rate falls to a tenth twice, precision float32; the 500 updates of warm-up
are given as a share of an epoch of the data.  Rates of those with 4 or 8 images a process hold for eight processes.
Those of 20,000 updates draw the shorter side from steps of 25 pixels instead of 1, and begin with the released
detector: the weights on Objects365 that they began with were not all released.

Segmenters: 16 images an update; the published numbers of updates, 1,500 of them of warm-up, are given as epochs of the
data that they were trained on, rounded to whole ones.  Colours are varied in half of the images, all four at once,
where the released code draws for each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from internimage.data.augmentation import Augmentation
from internimage.data.object_augmentation import ObjectAugmentation
from internimage.data.region_augmentation import RegionAugmentation
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
    augmentation: Augmentation | ObjectAugmentation | RegionAugmentation


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
    warmup_start=1e-3,
    lr_drops=(8, 11),
    published_groups=True,
    clip_norm=0.0,
    ema_decay=0.0,
    workers=2,
)
_FOUR_IMAGES: dict[str, Any] = {"batch_size": 4, "lr": 2e-4, "lr_batch_size": 32}
_SLOW_OFFSETS: dict[str, Any] = {**_FOUR_IMAGES, "layer_decay": 0.9, "deformable_lr_scale": 0.01}
_LONG_CASCADE = {"lr": 2e-4, "layer_decay": 0.9, "ema_decay": 0.9999}
_COCO, _CROWD_HUMAN = 117_266, 15_000  # pictures with objects
_PLAIN = ObjectAugmentation()
_MULTI_SCALE = ObjectAugmentation(short_sides=tuple(range(480, 801, 32)), crop=True)


def _warmed_up(training: TrainingConfig, pictures: int = _COCO) -> TrainingConfig:
    """500 updates of warm-up, whatever the number of images in each."""
    return replace(training, warmup_epochs=500 / -(-pictures // training.lr_batch_size))


def _detector(model: str, init: str, drop_path: float, **changes: Any) -> TrainingRecipe:
    """1x: 12 epochs of whole images at one scale; 3x: 36 epochs of crops at many."""
    long = "_3x_" in model
    training = replace(_DETECTOR, drop_path=drop_path)
    if long:
        training = replace(training, epochs=36, lr_drops=(27, 33))
    training = _warmed_up(replace(training, **changes), _CROWD_HUMAN if model.endswith("_crowd_human") else _COCO)
    return TrainingRecipe(model, init, training, _MULTI_SCALE if long else _PLAIN)


_DINO: dict[str, Any] = {"weight_decay": 1e-4, "lr_drops": (11,), "clip_norm": 0.1}
_DINO_LARGE: dict[str, Any] = {
    **{"epochs": 3, "updates": 20_000, "lr_drops": (), "end_lr": 1.0},
    **{"layer_decay": 0.94, "deformable_lr_scale": 1e-3, "batch_size": 1},
}
_VERY_MULTI_SCALE = ObjectAugmentation(short_sides=tuple(range(600, 1801, 25)), long=2000)


def _dino(model: str, init: str, drop_path: float, **changes: Any) -> TrainingRecipe:
    """12 epochs of crops at many scales, or 20,000 updates of large pictures."""
    training = _warmed_up(replace(_DETECTOR, drop_path=drop_path, **(_DINO | changes)))
    return TrainingRecipe(model, init, training, _VERY_MULTI_SCALE if training.updates else _MULTI_SCALE)


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
_LARGE = {"lr": 2e-5, "layer_decay": 0.94, "clip_norm": 0.1}
_HUGE = {"lr": 2e-5, "layer_decay": 0.95, "clip_norm": 0.1, "batch_size": 1}
# training images of each data set, 22,973 being those of Cityscapes with its coarsely labelled ones
_ADE20K, _CITYSCAPES, _MORE_CITIES, _MAPILLARY = 20_210, 2_975, 22_973, 20_000
_COCO_STUFF, _COCO_STUFF_10K, _PASCAL_CONTEXT, _NYU = 118_287, 9_000, 4_996, 795


def _segmenter(
    model: str,
    init: str,
    images: int,
    updates: int,
    evaluated: int,
    drop_path: float,
    augmentation: RegionAugmentation,
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
    return TrainingRecipe(model, init, replace(training, **changes), augmentation)


def _square(side: int, long: int | None = None) -> RegionAugmentation:
    return RegionAugmentation(crop=(side, side), short=side, long=long or 4 * side)


_STREET = RegionAugmentation(crop=(512, 1024), short=1024, long=2048)
_WHOLE_STREET = replace(_STREET, scale=(0.5, 1.0))
_SEGMENTERS = (
    *(
        _segmenter(
            f"upernet_internimage_{size}_{name}",
            f"internimage_{size}_1k_224",
            images,
            160_000,
            16_000,
            drop,
            augmentation,
        )
        for size, drop in (("t", 0.2), ("s", 0.3), ("b", 0.4))
        for name, images, augmentation in (
            ("512_160k_ade20k", _ADE20K, _square(512)),
            ("512x1024_160k_cityscapes", _CITYSCAPES, _STREET),
        )
    ),
    *(
        _segmenter(
            f"{head}_internimage_{size}_{name}",
            f"internimage_{size}_22k_192to384" if init is None else f"{init.format(size)}",
            images,
            updates,
            evaluated,
            0.4,
            augmentation,
            **_LARGE,
        )
        for size in ("l", "xl")
        for head, name, init, images, updates, evaluated, augmentation in (
            ("upernet", "640_160k_ade20k", None, _ADE20K, 160_000, 16_000, _square(640)),
            ("upernet", "512x1024_160k_cityscapes", None, _CITYSCAPES, 160_000, 16_000, _STREET),
            ("upernet", "512x1024_80k_mapillary", None, _MAPILLARY, 80_000, 8_000, _WHOLE_STREET),
            ("segformer", "512x1024_80k_mapillary", None, _MAPILLARY, 80_000, 8_000, _WHOLE_STREET),
            *(
                (
                    head,
                    "512x1024_160k_mapillary2cityscapes",
                    "segformer_internimage_{}_512x1024_80k_mapillary",
                    _MORE_CITIES,
                    160_000,
                    4_000,
                    _STREET,
                )
                for head in ("upernet", "segformer")
            ),
        )
    ),
    *(
        _segmenter(
            f"upernet_internimage_{size}_896_160k_ade20k", init, _ADE20K, 160_000, 16_000, 0.5, _square(896), **_HUGE
        )
        for size, init in (("h", "internimage_h_jointto22k_384"), ("g", "internimage_g_pretrainto22k_384"))
    ),
    *(
        _segmenter(
            f"mask2former_internimage_h_{name}",
            init,
            images,
            updates,
            evaluated,
            0.5,
            augmentation,
            **(_HUGE | changes),
        )
        for name, init, images, updates, evaluated, augmentation, changes in (
            (
                "480_40k_nyu",
                "internimage_h_jointto22k_384",
                _NYU,
                40_000,
                2_000,
                replace(_square(480), short=512, long=2048),
                {"clip_norm": 0.0},
            ),
            (
                "480_40k_pascal_context_59",
                "internimage_h_jointto22k_384",
                _PASCAL_CONTEXT,
                40_000,
                2_000,
                replace(_square(480), short=520, long=520),
                {"clip_norm": 0.0},
            ),
            (
                "896x896_80k_mapillary",
                "internimage_h_jointto22k_384",
                _MAPILLARY,
                80_000,
                2_000,
                replace(_STREET, crop=(896, 896)),
                {"batch_size": 2},
            ),
            (
                "1024x1024_80k_mapillary2cityscapes",
                "mask2former_internimage_h_896x896_80k_mapillary",
                _MORE_CITIES,
                80_000,
                2_000,
                replace(_STREET, crop=(1024, 1024)),
                {"lr": 1e-5, "batch_size": 2},
            ),
            (
                "896_80k_cocostuff164k",
                "internimage_h_jointto22k_384",
                _COCO_STUFF,
                80_000,
                8_000,
                _square(896),
                {"clip_norm": 0.0},
            ),
            (
                "512_40k_cocostuff164k_to_10k",
                "mask2former_internimage_h_896_80k_cocostuff164k",
                _COCO_STUFF_10K,
                40_000,
                2_000,
                _square(512),
                {"lr": 1e-5, "clip_norm": 0.0},
            ),
            (
                "896_80k_cocostuff2ade20k",
                "mask2former_internimage_h_896_80k_cocostuff164k",
                _ADE20K,
                80_000,
                2_000,
                _square(896),
                {"lr": 1e-5},
            ),
        )
    ),
)

_QUERIES: dict[str, Any] = {"lr": 1e-4, "clip_norm": 0.1}
_FLASH_SEGMENTERS = (
    *(
        _segmenter(
            f"upernet_flash_internimage_{size}_{side}_160k_ade20k",
            init,
            _ADE20K,
            160_000,
            16_000,
            drop,
            _square(side),
            **changes,
        )
        for size, side, init, drop, changes in (
            ("t", 512, "flash_intern_image_t_1k_224", 0.2, {}),
            ("s", 512, "flash_intern_image_s_1k_224", 0.3, {}),
            ("b", 512, "flash_intern_image_b_1k_224", 0.3, {}),
            ("l", 640, "flash_intern_image_l_22k_384", 0.4, _LARGE),
        )
    ),
    *(
        _segmenter(
            f"mask2former_flash_internimage_{size}_{side}_160k_ade20k_{kind}",
            init,
            _ADE20K,
            160_000,
            evaluated,
            drop,
            _square(side),
            **(_QUERIES | changes),
        )
        for size, side, kind, init, evaluated, drop, changes in (
            ("t", 512, "ss", "flash_intern_image_t_1k_224", 5_000, 0.2, {"clip_norm": 0.01, "layer_decay": 0.9}),
            ("s", 640, "ss", "flash_intern_image_s_1k_224", 5_000, 0.3, {}),
            ("s", 640, "ss_nsmx", "flash_intern_image_s_1k_224", 5_000, 0.3, {}),
            ("b", 640, "ss", "flash_intern_image_b_1k_224", 5_000, 0.4, {}),
            ("l", 640, "ss", "flash_intern_image_l_22k_384", 2_000, 0.5, {"layer_decay": 0.94}),
        )
    ),
)

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
        _dino("dino_4scale_internimage_t_1x_coco", "internimage_t_1k_224", 0.2, layer_decay=0.9),
        _dino("dino_4scale_internimage_l_1x_coco_layer_wise_lr", "internimage_l_22k_192to384", 0.4, layer_decay=0.9),
        _dino(
            "dino_4scale_internimage_l_1x_coco_0.1x_backbone_lr",
            "internimage_l_22k_192to384",
            0.4,
            backbone_lr_scale=0.1,
            weight_decay=0.05,
        ),
        *(
            _dino(f"dino_4scale_{backbone}_objects365_coco", "pretrained", 0.5, **_DINO_LARGE)
            for backbone in ("internimage_h", "internimage_g", "cbinternimage_h")
        ),
        _from_scratch("flash_intern_image_t_1k_224", 0.1),
        _from_scratch("flash_intern_image_s_1k_224", 0.4),
        _from_scratch("flash_intern_image_b_1k_224", 0.5),
        _fine_tuned("flash_internimage_l_22kto1k_384", "flash_intern_image_l_22k_384", 0.1),
        _detector("mask_rcnn_flash_internimage_t_fpn_1x_coco", "flash_intern_image_t_1k_224", 0.2),
        _detector("mask_rcnn_flash_internimage_t_fpn_3x_coco", "flash_intern_image_t_1k_224", 0.2),
        _detector("mask_rcnn_flash_internimage_s_fpn_1x_coco", "flash_intern_image_s_1k_224", 0.3),
        _detector(
            "mask_rcnn_flash_internimage_s_fpn_3x_coco",
            "flash_intern_image_s_1k_224",
            0.4,
            **{"batch_size": 8, "lr": 2e-4, "lr_batch_size": 64},
        ),
        _detector("mask_rcnn_flash_internimage_b_fpn_1x_coco", "flash_intern_image_b_1k_224", 0.3),
        _detector("mask_rcnn_flash_internimage_b_fpn_3x_coco", "flash_intern_image_b_1k_224", 0.4, **_SLOW_OFFSETS),
        _detector("cascade_flash_internimage_l_fpn_1x_coco", "flash_intern_image_l_22k_384", 0.4, layer_decay=0.94),
        _detector(
            "cascade_flash_internimage_l_fpn_3x_coco",
            "flash_intern_image_l_22k_384",
            0.4,
            ema_decay=0.9999,
            **_SLOW_OFFSETS,
        ),
        *(
            _dino(
                f"dino_4scale_flash_internimage_{size}_1x_coco",
                f"flash_intern_image_{size}_1k_224",
                drop,
                layer_decay=0.9,
                **_FOUR_IMAGES,
            )
            for size, drop in (("t", 0.2), ("s", 0.3), ("b", 0.3))
        ),
        _dino(
            "dino_4scale_flash_internimage_l_1x_coco",
            "flash_intern_image_l_22k_384",
            0.4,
            backbone_lr_scale=0.1,
            weight_decay=0.05,
        ),
        *_SEGMENTERS,
        *_FLASH_SEGMENTERS,
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
