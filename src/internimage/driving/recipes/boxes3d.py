"""The models that find boxes in space: the released BEVFormers, and ours on InternImage.  One call is one model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from internimage.backbones.config import ResNetConfig
from internimage.driving.augmentation.settings import PUBLISHED
from internimage.driving.recipes.common import R50, R101, TRAINING, mean_alone, square
from internimage.driving.sequences.settings import DriveAugmentation
from internimage.images import FitPreprocessing
from internimage.recipes.backbones import ATTO, XL, B, S, T, dense
from internimage.recipes.recipe import PublishedScore, Recipe, TrainingRecipe

_SKY = 260 / 900  # of a picture's height, which BEVFormer v2 does not look at
_V2_BACKBONE = ResNetConfig(style="caffe", bgr=True)
_V2 = (
    ("t1_base", 1, 1, 42.6, 35.1),
    ("t1", 1, 11, 45.3, 38.1),
    ("t2", 2, 11, 51.8, 42.0),
    ("t8", 8, 11, 55.3, 46.0),
)
_V2_TRAINING = replace(TRAINING, lr=4e-4, backbone_lr_scale=0.5)
_NDS = "nuScenes NDS"
_ONE_LEVEL: dict[str, Any] = {"out_levels": (3,), "levels": 1, "encoder_layers": 3, "rotation_centre": (100.0, 100.0)}


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


def _released_v2(name: str, moments: int, groups: int, nds: float, mean_ap: float) -> Recipe:
    """A released BEVFormer v2 on a ResNet-50."""
    plain: dict[str, Any] = {"backbone": _V2_BACKBONE, "groups": groups, "above": _SKY}
    if moments > 1:
        plain |= {"frames": tuple(range(1 - moments, 1)), "fusion_width": 512}
    return Recipe(
        f"bevformer_v2_{name}",
        "boxes3d",
        "bevformer_v2",
        plain,
        mean_alone(640, 1600),
        labels="bevformer_v2",
        elsewhere="https://github.com/fundamentalvision/BEVFormer",
        published=PublishedScore(_NDS, nds),
        note=f"published with {mean_ap} mAP, which their authors state after 24 epochs",
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
        training=TrainingRecipe(init, replace(TRAINING, drop_path=drop_path), DriveAugmentation(queue=4)),
        note="as BEVFormer's base; no weights were published",
    )


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
            "grid": square(32),
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
        {"backbone": R50, "grid": square(50), **_ONE_LEVEL},
        FitPreprocessing(short=450, long=800),
        PublishedScore(_NDS, 35.4),
        "published with 25.2 mAP; began with a classifier of ImageNet-1K",
    ),
    _released(
        "bevformer_small",
        {"backbone": R101, "grid": square(150), **_ONE_LEVEL},
        mean_alone(720, 1280),
        PublishedScore(_NDS, 47.9),
        "published with 37.0 mAP; began with the backbone of an FCOS3D",
    ),
    _released(
        "bevformer_base",
        {"backbone": R101},
        mean_alone(900, 1600),
        PublishedScore(_NDS, 51.7),
        "published with 41.6 mAP; began with the backbone of an FCOS3D",
    ),
    # BEVFormer v2 (Yang et al., CVPR 2023)
    Recipe(
        "bevformer_v2_internimage_atto",
        "boxes3d",
        "bevformer_v2",
        {
            "backbone": replace(ATTO, depths=ATTO.depths[:2], groups=ATTO.groups[:2]),
            "out_levels": (0, 1),
            "levels": 2,
            "channels": 64,
            "grid": square(32),
            "heads": 4,
            "points": 4,
            "width": 128,
            "encoder_layers": 2,
            "decoder_layers": 3,
            "queries": 100,
            "groups": 4,
            "dropout": 0.0,
            "frames": (-1, 0),
            "proposals": 20,
            "velocity_weight": 1.0,
            "perspective": {
                "convolutions": 2,
                "strides": (4, 8, 16),
                "reaches": (32.0, 64.0),
                "mean_depths": (30.0, 20.0, 12.0),
                "depth_spreads": (10.0, 8.0, 6.0),
                "focal_length": 90.0,
            },
        },
        FitPreprocessing(short=90, long=160),
        note="ours, for CPUs and quick fine-tuning",
    ),
    *(_released_v2(*one) for one in _V2),
    *(
        Recipe(
            f"bevformer_v2_internimage_{name}",
            "boxes3d",
            "bevformer_v2",
            {"backbone": dense(backbone), "proposals": 100, "above": _SKY, "frames": tuple(range(-7, 8))}
            | {"fusion_width": 512},
            FitPreprocessing(short=640, long=1600),
            labels="bevformer_v2",
            published=PublishedScore("nuScenes test NDS", score),
            training=TrainingRecipe(init, _V2_TRAINING, DriveAugmentation(queue=1, scene=PUBLISHED)),
            note="as published, with frames before and after; no weights were published",
        )
        for name, backbone, init, score in (
            ("b", B, "internimage_b_1k_224", 62.0),
            ("xl", XL, "internimage_xl_22k_192to384", 63.4),
        )
    ),
    # InternImage in BEVFormer
    _ours("bevformer_internimage_t", T, "internimage_t_1k_224", 0.2),
    _ours("bevformer_internimage_s", S, "internimage_s_1k_224", 0.3),
    _ours("bevformer_internimage_b", B, "internimage_b_1k_224", 0.4),
    _ours("bevformer_internimage_xl", XL, "internimage_xl_22k_192to384", 0.4),
)
