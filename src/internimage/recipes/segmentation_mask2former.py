"""The released Mask2Formers with InternImage-H.  One call is one model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from internimage.images import FitPreprocessing
from internimage.recipes.backbones import H, released_file
from internimage.recipes.recipe import PublishedScore, Recipe, TrainingRecipe
from internimage.recipes.schedules import (
    ADE20K,
    COCO_STUFF,
    COCO_STUFF_10K,
    MAPILLARY,
    MORE_CITIES,
    NYU,
    PASCAL_CONTEXT,
    STREET,
    segmenter,
    square,
)
from internimage.settings.segmentation import SegmentationAugmentation

_WIDE: dict[str, Any] = {"channels": 1024, "queries": 200, "encoder_width": 4096, "decoder_width": 4096}


def _recipe(
    name: str,
    plain: dict[str, Any],
    *,
    labels: str,
    frame: tuple[int, int],
    training: TrainingRecipe,
    published: PublishedScore | None,
    note: str = "",
) -> Recipe:
    """A released segmenter; ``frame`` is (shorter, longer) side of a picture in pixels."""
    short, long = frame
    return Recipe(
        name,
        "segmentation",
        "mask2former",
        {"backbone": H, **plain},
        FitPreprocessing(short, long, multiple=32),
        labels=labels,
        weights=released_file(name, H),
        published=published,
        training=training,
        note=note,
    )


def _training(
    init: str,
    *,
    images: int,
    updates: int,
    augmentation: SegmentationAugmentation,
    lr: float,
    clip_norm: float,
    evaluated: int = 2_000,
    batch_size: int = 1,
) -> TrainingRecipe:
    """What all have in common: stochastic depth and layer decay."""
    return segmenter(
        init,
        images=images,
        updates=updates,
        evaluated=evaluated,
        drop_path=0.5,
        augmentation=augmentation,
        lr=lr,
        layer_decay=0.95,
        clip_norm=clip_norm,
        batch_size=batch_size,
    )


INTERNIMAGE: tuple[Recipe, ...] = (
    _recipe(
        "mask2former_internimage_h_480_40k_nyu",
        {"num_classes": 40},
        labels="nyu40",
        frame=(480, 640),
        training=_training(
            "internimage_h_jointto22k_384",
            images=NYU,
            updates=40_000,
            augmentation=SegmentationAugmentation(crop=(480, 480), short=512, long=2048),
            lr=2e-5,
            clip_norm=0.0,
        ),
        published=PublishedScore("NYU Depth V2 mIoU", 67.1, "867G", multi_scale=68.1),
    ),
    _recipe(
        "mask2former_internimage_h_480_40k_pascal_context_59",
        {"num_classes": 59},
        labels="pascal_context",
        frame=(520, 4096),
        training=_training(
            "internimage_h_jointto22k_384",
            images=PASCAL_CONTEXT,
            updates=40_000,
            augmentation=SegmentationAugmentation(crop=(480, 480), short=520, long=520),
            lr=2e-5,
            clip_norm=0.0,
        ),
        published=PublishedScore("Pascal Context mIoU", 69.7, "867G", multi_scale=70.3),
    ),
    _recipe(
        "mask2former_internimage_h_896x896_80k_mapillary",
        {"num_classes": 19, "window": {"size": (896, 896), "stride": (512, 512)}},
        labels="cityscapes",
        frame=(1024, 2048),
        training=_training(
            "internimage_h_jointto22k_384",
            images=MAPILLARY,
            updates=80_000,
            augmentation=replace(STREET, crop=(896, 896)),
            lr=2e-5,
            clip_norm=0.1,
            batch_size=2,
        ),
        published=None,
        note="trained on Mapillary with the classes of Cityscapes",
    ),
    _recipe(
        "mask2former_internimage_h_1024x1024_80k_mapillary2cityscapes",
        {"num_classes": 19, "window": {"size": (1024, 1024), "stride": (512, 512)}},
        labels="cityscapes",
        frame=(1024, 2048),
        training=_training(
            "mask2former_internimage_h_896x896_80k_mapillary",
            images=MORE_CITIES,
            updates=80_000,
            augmentation=replace(STREET, crop=(1024, 1024)),
            lr=1e-5,
            clip_norm=0.1,
            batch_size=2,
        ),
        published=PublishedScore("Cityscapes mIoU", 86.37, "7878G", multi_scale=86.96),
    ),
    _recipe(
        "mask2former_internimage_h_512_40k_cocostuff164k_to_10k",
        {"num_classes": 171, **_WIDE},
        labels="coco_stuff",
        frame=(512, 2048),
        training=_training(
            "mask2former_internimage_h_896_80k_cocostuff164k",
            images=COCO_STUFF_10K,
            updates=40_000,
            augmentation=square(512),
            lr=1e-5,
            clip_norm=0.0,
        ),
        published=PublishedScore("COCO-Stuff mIoU", 59.2, "1528G", multi_scale=59.6),
    ),
    _recipe(
        "mask2former_internimage_h_896_80k_cocostuff164k",
        {"num_classes": 171, **_WIDE},
        labels="coco_stuff",
        frame=(896, 3584),
        training=_training(
            "internimage_h_jointto22k_384",
            images=COCO_STUFF,
            updates=80_000,
            evaluated=8_000,
            augmentation=square(896),
            lr=2e-5,
            clip_norm=0.0,
        ),
        published=PublishedScore("COCO-Stuff mIoU", 52.6, "4635G", multi_scale=52.8),
    ),
    _recipe(
        "mask2former_internimage_h_896_80k_cocostuff2ade20k",
        {"num_classes": 150, **_WIDE},
        labels="ade20k",
        frame=(896, 3584),
        training=_training(
            "mask2former_internimage_h_896_80k_cocostuff164k",
            images=ADE20K,
            updates=80_000,
            augmentation=square(896),
            lr=1e-5,
            clip_norm=0.1,
        ),
        published=PublishedScore("ADE20K mIoU", 62.6, "4635G", multi_scale=62.9),
        note="the score with several views takes --tta --tta-sides 768 832 896 960 1024",
    ),
)
