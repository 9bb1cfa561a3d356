"""The models that fill space: the released ones, and ours.  One call is one model."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from internimage.driving.recipes.common import R50, R101, TRAINING, mean_alone
from internimage.driving.sequences.settings import DriveAugmentation
from internimage.driving.voxels.settings import VoxelLosses
from internimage.images import FitPreprocessing
from internimage.recipes.backbones import ATTO, S, dense
from internimage.recipes.recipe import PublishedScore, Recipe, TrainingRecipe

_ELSEWHERE = "https://github.com/OpenGVLab/InternImage/tree/master/autonomous_driving/occupancy_prediction"
_ALL_VOXELS = asdict(VoxelLosses(seen_only=False))


def _released(
    name: str,
    plain: dict[str, Any],
    published: PublishedScore | None,
    note: str,
    preprocessing: FitPreprocessing | None = None,
) -> Recipe:
    plain = {"released_can_bus": True, "released_shift": True, "learning": _ALL_VOXELS, **plain}
    return Recipe(
        name,
        "occupancy",
        "occupancy",
        plain,
        preprocessing or FitPreprocessing(short=900, long=1600),
        labels="occ3d",
        elsewhere=_ELSEWHERE,
        published=published,
        note=note,
    )


_INTERNIMAGE_S = _released(
    "occupancy_internimage_s",
    {"backbone": dense(S)},
    PublishedScore("Occ3D-nuScenes mIoU", 25.11),
    "InternImage's entry of the CVPR 2023 challenge",
)

RECIPES: tuple[Recipe, ...] = (
    # ours
    Recipe(
        "occupancy_internimage_atto",
        "occupancy",
        "occupancy",
        {
            "backbone": replace(ATTO, depths=ATTO.depths[:2], groups=ATTO.groups[:2]),
            "out_levels": (0, 1),
            "levels": 2,
            "channels": 64,
            "grid": {"height": 50, "width": 50, "extent": (-40.0, -40.0, -1.0, 40.0, 40.0, 5.4), "pillars": 4},
            "heads": 4,
            "points": 4,
            "width": 128,
            "encoder_layers": 2,
            "decoder": "plane",
            "voxel_channels": 64,
            "finer": 4,
            "dropout": 0.0,
            "learning": asdict(VoxelLosses(balance=0.3, lovasz=1.0, most=4_000, memory=4.0)),
        },
        FitPreprocessing(short=126, long=224),  # depth asks for pixels
        labels="occ3d",
        note="ours, for CPUs and quick fine-tuning",
    ),
    # of the CVPR 2023 challenge on 3D occupancy
    replace(
        _INTERNIMAGE_S,
        training=TrainingRecipe(
            "internimage_s_1k_224",
            replace(TRAINING, weight_decay=0.05, drop_path=0.3),
            DriveAugmentation(queue=4),
        ),
    ),
    _released("occupancy_bevformer_base", {"backbone": R101}, None, "the challenge's baseline", mean_alone(900, 1600)),
    _released(
        "occupancy_bevformer_small",
        {"backbone": replace(R101, depths=R50.depths), "out_levels": (2, 3), "levels": 2, "encoder_layers": 1},
        None,
        "the challenge's baseline, small",
        mean_alone(900, 1600),
    ),
)
