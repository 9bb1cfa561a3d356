"""The models that draw maps.  Nobody has published weights of them under a free licence.  One call is one model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from internimage.driving.recipes.common import TRAINING
from internimage.driving.sequences.settings import DriveAugmentation
from internimage.images import FitPreprocessing
from internimage.recipes.backbones import ATTO, S, T, dense
from internimage.recipes.recipe import Recipe, TrainingRecipe

_SMALL: dict[str, Any] = {
    "backbone": replace(ATTO, depths=ATTO.depths[:3], groups=ATTO.groups[:3]),
    "out_levels": (0, 1, 2),
    "levels": 3,
    "channels": 32,
    "grid": {"height": 50, "width": 100, "extent": (-30.0, -15.0, -2.0, 30.0, 15.0, 2.0), "pillars": 4},
    "heights": (0.0,),
    "head_channels": 64,
    "heads": 4,
    "width": 128,
    "decoder_layers": 3,
    "elements": 24,
    "dropout": 0.0,
}
_DRAWN = {"kind": "two_stage", "generator": {"layers": 3, "dropout": 0.0}}


def _small(name: str, plain: dict[str, Any]) -> Recipe:
    return Recipe(
        name,
        "online_map",
        "online_map",
        {**_SMALL, **plain},
        FitPreprocessing(short=90, long=160),
        labels="vector_map",
        note="ours, for CPUs and quick fine-tuning",
    )


def _large(name: str, backbone: Any, init: str, drop_path: float, **plain: Any) -> Recipe:
    return Recipe(
        name,
        "online_map",
        "online_map",
        {"backbone": backbone, **plain},
        FitPreprocessing(short=256, long=455),
        labels="vector_map",
        training=TrainingRecipe(init, replace(TRAINING, drop_path=drop_path), DriveAugmentation(queue=1)),
        note="no weights were published",
    )


RECIPES: tuple[Recipe, ...] = (
    _small("online_map_internimage_atto", {}),
    _small("online_map_two_stage_internimage_atto", _DRAWN),
    _large("online_map_internimage_t", dense(T), "internimage_t_1k_224", 0.2),
    _large("online_map_internimage_s", dense(S), "internimage_s_1k_224", 0.3),
    _large("online_map_two_stage_internimage_s", dense(S), "internimage_s_1k_224", 0.3, kind="two_stage"),
)
