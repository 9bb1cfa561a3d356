"""The models that find boxes in space: the released BEVFormers, and ours on InternImage.  One call is one model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from internimage.backbones.config import RESNET_50, RESNET_101, ResNetConfig
from internimage.driving.boxes3d.settings import BoxAugmentation
from internimage.images import FitPreprocessing
from internimage.recipes.backbones import ATTO, XL, B, S, T, dense
from internimage.recipes.recipe import PublishedScore, Recipe, TrainingRecipe
from internimage.settings.training import TrainingConfig

_NDS = "nuScenes NDS"
_FRAMES = 28_130  # of nuScenes's training drives

# As the released ones were trained: 8 frames an update; the 500 updates of warm-up are given as a share of an epoch
_TRAINING = TrainingConfig(
    epochs=24,
    batch_size=1,
    lr=2e-4,
    lr_batch_size=8,
    weight_decay=0.01,
    warmup_epochs=500 / (_FRAMES / 8),
    warmup_start=1 / 3,
    end_lr=1e-3,
    backbone_lr_scale=0.1,
    published_groups=True,
    clip_norm=35.0,
    ema_decay=0.0,
    drop_path=0.0,
    workers=4,
)

_R50 = ResNetConfig(RESNET_50, frozen_stages=1, frozen_norm=True)
_R101 = ResNetConfig(
    RESNET_101,
    style="caffe",
    deformable=(False, False, True, True),
    bgr=True,
    frozen_stages=1,
    frozen_norm=True,
)
_ONE_LEVEL: dict[str, Any] = {"out_levels": (3,), "levels": 1, "encoder_layers": 3, "rotation_centre": (100.0, 100.0)}


def _grid(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


def _released(
    name: str, plain: dict[str, Any], preprocessing: FitPreprocessing, published: PublishedScore, note: str
) -> Recipe:
    """A released model of nuScenes's ten classes."""
    return Recipe(
        name,
        "boxes3d",
        "bevformer",
        {**plain, "released_can_bus": True},
        preprocessing,
        labels="nuscenes_boxes3d",
        elsewhere="https://github.com/fundamentalvision/BEVFormer",
        published=published,
        note=note,
    )


def _ours(name: str, backbone: Any, init: str, drop_path: float) -> Recipe:
    """As the released base, on InternImage.  Nobody has published such weights."""
    return Recipe(
        name,
        "boxes3d",
        "bevformer",
        {"backbone": dense(backbone)},
        FitPreprocessing(short=900, long=1600),
        labels="nuscenes_boxes3d",
        training=TrainingRecipe(init, replace(_TRAINING, drop_path=drop_path), BoxAugmentation(queue=4)),
        note="as BEVFormer's base; no weights were published",
    )


def _raw(short: int, long: int) -> FitPreprocessing:
    """Only the mean is subtracted."""
    return FitPreprocessing(short=short, long=long, std=(1.0, 1.0, 1.0))


RECIPES: tuple[Recipe, ...] = (
    # ours
    Recipe(
        "bevformer_internimage_atto",
        "boxes3d",
        "bevformer",
        {
            "backbone": replace(ATTO, depths=ATTO.depths[:2], groups=ATTO.groups[:2]),
            "out_levels": (0, 1),
            "levels": 2,
            "channels": 64,
            "grid": _grid(32),
            "heads": 4,
            "points": 4,
            "width": 128,
            "encoder_layers": 2,
            "decoder_layers": 3,
            "queries": 100,
            "groups": 4,
            "dropout": 0.0,
            "velocity_weight": 1.0,
        },
        FitPreprocessing(short=90, long=160),
        note="ours, for CPUs and quick fine-tuning",
    ),
    # BEVFormer (Li et al., ECCV 2022)
    _released(
        "bevformer_tiny",
        {"backbone": _R50, "grid": _grid(50), **_ONE_LEVEL},
        FitPreprocessing(short=450, long=800),
        PublishedScore(_NDS, 35.4),
        "published with 25.2 mAP; began with a classifier of ImageNet-1K",
    ),
    _released(
        "bevformer_small",
        {"backbone": _R101, "grid": _grid(150), **_ONE_LEVEL},
        _raw(720, 1280),
        PublishedScore(_NDS, 47.9),
        "published with 37.0 mAP; began with the backbone of an FCOS3D",
    ),
    _released(
        "bevformer_base",
        {"backbone": _R101},
        _raw(900, 1600),
        PublishedScore(_NDS, 51.7),
        "published with 41.6 mAP; began with the backbone of an FCOS3D",
    ),
    # InternImage in BEVFormer
    _ours("bevformer_internimage_t", T, "internimage_t_1k_224", 0.2),
    _ours("bevformer_internimage_s", S, "internimage_s_1k_224", 0.3),
    _ours("bevformer_internimage_b", B, "internimage_b_1k_224", 0.4),
    _ours("bevformer_internimage_xl", XL, "internimage_xl_22k_192to384", 0.4),
)
