"""The classifiers: the released ones, and small ones of ours.  One call is one model."""

from __future__ import annotations

from typing import Any, Literal

from internimage.backbones.config import InternImageConfig
from internimage.checkpoints.hub import PackagedModel
from internimage.images import Preprocessing
from internimage.recipes.backbones import (
    ATTO,
    FLASH_ATTO,
    FLASH_B,
    FLASH_L,
    FLASH_S,
    FLASH_T,
    PICO,
    XL,
    B,
    G,
    H,
    L,
    S,
    T,
    released_file,
)
from internimage.recipes.recipe import MeasuredScore, PublishedScore, Recipe, TrainingRecipe
from internimage.recipes.schedules import fine_tuned, from_scratch

_ACCURACY = "ImageNet-1K top-1"
_INATURALIST_18 = 8_142  # classes


def _ours(name: str, backbone: InternImageConfig, note: str) -> Recipe:
    """An architecture without weights, for 1,000 classes and 224x224 pixels."""
    return _recipe(name, backbone, {}, size=224, note=note)


def _imagenet_1k(
    name: str,
    backbone: InternImageConfig,
    *,
    size: int,
    training: TrainingRecipe,
    published: PublishedScore,
    head: Literal["conv", "attention_pool"] = "conv",
    hub_name: str | None = None,
) -> Recipe:
    """A released classifier of ImageNet-1K's 1,000 classes, evaluated at ``size`` x ``size`` pixels."""
    return _recipe(
        name,
        backbone,
        {"head": head},
        size=size,
        labels="imagenet1k",
        weights=released_file(name, backbone),
        hub_name=hub_name,
        published=published,
        training=training,
    )


def _imagenet_22k(
    name: str,
    backbone: InternImageConfig,
    *,
    head: Literal["conv", "attention_pool"] = "conv",
    hub_name: str | None = None,
) -> Recipe:
    """A released classifier of ImageNet-22K's classes, for 384x384 pixels; how it was trained was not published."""
    return _recipe(
        name,
        backbone,
        {"num_classes": 21_841, "head": head},
        size=384,
        labels="imagenet22k",
        weights=released_file(name, backbone),
        hub_name=hub_name,
        note="21,841 classes; labels='imagenet1k' keeps the 1,000 of ImageNet-1K",
    )


def _places(name: str, classes: int, published: PublishedScore, labels: str | None = None) -> Recipe:
    """InternImage-H for scenes, trained as for ImageNet-1K."""
    return _recipe(
        name,
        H,
        {"num_classes": classes, "head": "attention_pool"},
        size=384,
        labels=labels,
        published=published,
        training=fine_tuned("internimage_h_jointto22k_384", drop_path=0.2),
        note="of the paper, which trains it as for ImageNet-1K; no configuration and no weights were published",
    )


def _recipe(name: str, backbone: InternImageConfig, plain: dict[str, Any], *, size: int, **fields: Any) -> Recipe:
    """A classifier of images of ``size`` x ``size`` pixels; ``plain`` is what its configuration has besides."""
    return Recipe(
        name=name,
        task="classification",
        architecture="image_classifier",
        plain={"backbone": backbone, **plain},
        preprocessing=Preprocessing(resize=size, crop=size),
        **fields,
    )


RECIPES: tuple[Recipe, ...] = (
    # ours
    _ours("internimage_atto", ATTO, "ours, for CPUs and quick fine-tuning"),
    _ours("internimage_pico", PICO, "ours, for CPUs and quick fine-tuning"),
    _ours("flash_internimage_atto", FLASH_ATTO, "ours; internimage_atto learned more from little data"),
    _recipe(
        "internimage_atto_clothing_128",
        ATTO,
        {"num_classes": 10},
        size=128,
        weights=PackagedModel("internimage_atto_clothing_128"),
        measured=MeasuredScore(
            "top-1 on 120 test photos of clothing",
            "python benchmarks/clothing.py",
            seeds=(71.7, 69.2, 75.0),
            shipped=75.0,
            peers={
                "flash_internimage_atto": (62.5, 67.5, 70.8),
                "timm convnext_atto": (43.3, 40.8, 43.3),
                "internimage_pico": (65.8, 67.5, 74.2),
                "torchvision resnet18": (73.3, 75.8, 72.5),
            },
        ),
        note="ours: ten kinds of clothes, trained on 500 CC0 photos; for demonstrations",
    ),
    # InternImage
    _imagenet_1k(
        "internimage_t_1k_224",
        T,
        size=224,
        training=from_scratch(drop_path=0.1),
        published=PublishedScore(_ACCURACY, 83.5, "5G"),
        hub_name="OpenGVLab/internimage_t_1k_224",
    ),
    _imagenet_1k(
        "internimage_s_1k_224",
        S,
        size=224,
        training=from_scratch(drop_path=0.4),
        published=PublishedScore(_ACCURACY, 84.2, "8G"),
        hub_name="OpenGVLab/internimage_s_1k_224",
    ),
    _imagenet_1k(
        "internimage_b_1k_224",
        B,
        size=224,
        training=from_scratch(drop_path=0.5),
        published=PublishedScore(_ACCURACY, 84.9, "16G"),
        hub_name="OpenGVLab/internimage_b_1k_224",
    ),
    _imagenet_22k("internimage_l_22k_192to384", L, hub_name="OpenGVLab/internimage_l_22k_384"),
    _imagenet_1k(
        "internimage_l_22kto1k_384",
        L,
        size=384,
        training=fine_tuned("internimage_l_22k_192to384", drop_path=0.1),
        published=PublishedScore(_ACCURACY, 87.7, "108G"),
        hub_name="OpenGVLab/internimage_l_22kto1k_384",
    ),
    _imagenet_22k("internimage_xl_22k_192to384", XL, hub_name="OpenGVLab/internimage_xl_22k_384"),
    _imagenet_1k(
        "internimage_xl_22kto1k_384",
        XL,
        size=384,
        training=fine_tuned("internimage_xl_22k_192to384", drop_path=0.2),
        published=PublishedScore(_ACCURACY, 88.0, "163G"),
        hub_name="OpenGVLab/internimage_xl_22kto1k_384",
    ),
    _imagenet_22k(
        "internimage_h_jointto22k_384",
        H,
        head="attention_pool",
        hub_name="OpenGVLab/internimage_h_jointto22k_384",
    ),
    _recipe(
        "internimage_h_22kto1k_384",
        H,
        {"head": "attention_pool"},
        size=384,
        labels="imagenet1k",
        training=fine_tuned("internimage_h_jointto22k_384", drop_path=0.2),
        note="a published configuration without a published file",
    ),
    _imagenet_1k(
        "internimage_h_22kto1k_640",
        H,
        size=640,
        training=fine_tuned("internimage_h_jointto22k_384", drop_path=0.2),
        published=PublishedScore(_ACCURACY, 89.6, "1478G"),
        head="attention_pool",
        hub_name="OpenGVLab/internimage_h_22kto1k_640",
    ),
    _recipe(
        "internimage_h_22ktoinat18_384",
        H,
        {"num_classes": _INATURALIST_18, "head": "attention_pool", "metadata_channels": 64},
        size=384,
        weights=released_file("internimage_h_22ktoinat18_384", H),
        published=PublishedScore("iNaturalist 2018 top-1", 92.6),
        training=fine_tuned(
            "internimage_h_jointto22k_384",
            drop_path=0.6,
            epochs=100,
            warmup_epochs=0,
            ema_decay=0.0,
            layer_decay=1.0,
            deformable_lr_scale=1.0,
        ),
        note="also reads time and place of the photo (temporal, spatial); without them they count as unknown",
    ),
    _places("internimage_h_22ktoplaces365_384", 365, PublishedScore("Places365 top-1", 61.2), labels="places365"),
    _places("internimage_h_22ktoplaces205_384", 205, PublishedScore("Places205 top-1", 71.7)),
    _imagenet_22k(
        "internimage_g_pretrainto22k_384",
        G,
        head="attention_pool",
        hub_name="OpenGVLab/internimage_g_jointto22k_384",
    ),
    _imagenet_1k(
        "internimage_g_22kto1k_512",
        G,
        size=512,
        training=fine_tuned("internimage_g_pretrainto22k_384", drop_path=0.4),
        published=PublishedScore(_ACCURACY, 90.1, "2700G"),
        head="attention_pool",
        hub_name="OpenGVLab/internimage_g_22kto1k_512",
    ),
    # FlashInternImage
    _imagenet_1k(
        "flash_intern_image_t_1k_224",
        FLASH_T,
        size=224,
        training=from_scratch(drop_path=0.1),
        published=PublishedScore(_ACCURACY, 83.6),
    ),
    _imagenet_1k(
        "flash_intern_image_s_1k_224",
        FLASH_S,
        size=224,
        training=from_scratch(drop_path=0.4),
        published=PublishedScore(_ACCURACY, 84.4),
    ),
    _imagenet_1k(
        "flash_intern_image_b_1k_224",
        FLASH_B,
        size=224,
        training=from_scratch(drop_path=0.5),
        published=PublishedScore(_ACCURACY, 84.9),
    ),
    _imagenet_22k("flash_intern_image_l_22k_384", FLASH_L),
    _imagenet_1k(
        "flash_internimage_l_22kto1k_384",
        FLASH_L,
        size=384,
        training=fine_tuned("flash_intern_image_l_22k_384", drop_path=0.1),
        published=PublishedScore(_ACCURACY, 88.1),
    ),
)
