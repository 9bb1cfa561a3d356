"""The DINOs that begin with Objects365: pre-training, then other sets.  One call is one model.

The largest of the detectors, on pictures of 1000 pixels and more; 300 boxes of each are reported.
"""

from __future__ import annotations

from typing import Any

from internimage.images import FitPreprocessing
from internimage.recipes.backbones import G, H, released_file
from internimage.recipes.recipe import PublishedScore, Recipe, TrainingRecipe
from internimage.recipes.schedules import (
    COCO,
    CROWD_HUMAN,
    LVIS,
    OBJECTS365,
    OPEN_IMAGES,
    VOC,
    dino_large,
)

_BOXES = "COCO box AP"
_PLAIN: dict[str, Any] = {"denoising": 1000}
_COMPOSITE: dict[str, Any] = {**_PLAIN, "composite": {"half_precision_scale": True}}
_CB_H = "dino_4scale_cbinternimage_h_objects365"
_COCO_CLASSES, _VOC_CLASSES = f"{_CB_H}_80classes", f"{_CB_H}_20classes"


def _recipe(name: str, plain: dict[str, Any], *, training: TrainingRecipe | None, **fields: Any) -> Recipe:
    """A DINO; with a score, or without a training of its own, its weights were released."""
    config = {"backbone": H, **plain}
    if not fields.pop("unpublished", False):
        fields["weights"] = released_file(name, config["backbone"])
    preprocessing = FitPreprocessing(short=1000, long=2000)
    return Recipe(name, "detection", "dino", config, preprocessing, training=training, **fields)


def _pretraining(name: str, plain: dict[str, Any], start: str) -> Recipe:
    """26 epochs of Objects365, from a classifier."""
    return _recipe(
        name,
        {**plain, "num_classes": 365},
        labels="objects365",
        training=dino_large(start, OBJECTS365, epochs=26, updates=0, lr=2e-4, lr_batch_size=256),
        unpublished=True,
        note="pre-training; of the paper, no configuration and no weights were published",
    )


RECIPES: tuple[Recipe, ...] = (
    _pretraining("dino_4scale_internimage_h_objects365", _PLAIN, "internimage_h_jointto22k_384"),
    _pretraining(
        "dino_4scale_internimage_g_objects365",
        {**_PLAIN, "backbone": G, "parts": 4},
        "internimage_g_pretrainto22k_384",
    ),
    _pretraining(_CB_H, _COMPOSITE, "internimage_h_jointto22k_384"),
    _recipe(
        _COCO_CLASSES,
        _COMPOSITE,
        labels="coco",
        training=None,
        note="pre-trained on Objects365, with COCO's classes; what the released trainings begin with",
    ),
    _recipe(
        _VOC_CLASSES,
        {**_COMPOSITE, "num_classes": 20},
        labels="voc",
        training=None,
        note="pre-trained on Objects365, with Pascal VOC's classes; what its released training begins with",
    ),
    _recipe(
        "dino_4scale_internimage_h_objects365_coco",
        _PLAIN,
        published=PublishedScore(_BOXES, 63.4),
        labels="coco",
        training=dino_large("pretrained", COCO, largest=1800),
    ),
    _recipe(
        "dino_4scale_internimage_g_objects365_coco",
        {**_PLAIN, "backbone": G, "parts": 4},
        published=PublishedScore(_BOXES, 64.2),
        labels="coco",
        training=dino_large("pretrained", COCO, largest=1800),
    ),
    _recipe(
        f"{_CB_H}_coco",
        _COMPOSITE,
        published=PublishedScore(_BOXES, 64.5, multi_scale=65.0),
        labels="coco",
        training=dino_large(_COCO_CLASSES, COCO, largest=1800),
    ),
    _recipe(
        f"{_CB_H}_lvis",
        {**_COMPOSITE, "num_classes": 1203},
        published=PublishedScore("LVIS minival box AP", 65.8),
        labels="lvis",
        training=dino_large(_COCO_CLASSES, LVIS, updates=80_000, sampling="repeat-factor"),
        note="62.3 on LVIS val, 63.2 with several views",
    ),
    _recipe(
        f"{_CB_H}_openimages",
        {**_COMPOSITE, "num_classes": 601},
        published=PublishedScore("OpenImages box AP", 74.1),
        labels="openimages",
        training=dino_large(_COCO_CLASSES, OPEN_IMAGES, updates=100_000, sampling="class-aware"),
    ),
    _recipe(
        f"{_CB_H}_voc0712",
        {**_COMPOSITE, "num_classes": 20},
        published=PublishedScore("VOC 2007 box AP", 94.0),
        labels="voc",
        training=dino_large(_VOC_CLASSES, VOC, lr=5e-5, repeat=3),
        note="97.2 on VOC 2012",
    ),
    _recipe(
        f"{_CB_H}_crowd_human",
        {**_COMPOSITE, "num_classes": 1},
        published=PublishedScore("CrowdHuman AP", 97.2),
        labels="crowdhuman",
        training=dino_large(_COCO_CLASSES, CROWD_HUMAN, updates=3_750),
        unpublished=True,
        note="of the paper, which names 3,750 updates; no configuration and no weights were published",
    ),
)
