"""The models of lanes and traffic elements: the released one, and ours.  One call is one model."""

from __future__ import annotations

from dataclasses import replace

from internimage.driving.recipes.common import TRAINING
from internimage.driving.sequences.settings import DriveAugmentation
from internimage.images import FitPreprocessing
from internimage.recipes.backbones import ATTO, S, dense
from internimage.recipes.recipe import Recipe, TrainingRecipe

RECIPES: tuple[Recipe, ...] = (
    # ours
    Recipe(
        "topology_internimage_atto",
        "topology",
        "topology",
        {
            "backbone": replace(ATTO, depths=ATTO.depths[:3], groups=ATTO.groups[:3]),
            "out_levels": (0, 1, 2),
            "levels": 3,
            "channels": 64,
            "grid": {"height": 25, "width": 50, "extent": (-51.2, -25.6, -2.3, 51.2, 25.6, 1.7), "pillars": 4},
            "heads": 4,
            "points": 4,
            "width": 128,
            "encoder_layers": 2,
            "decoder_layers": 3,
            "queries": 50,
            "element_encoder_layers": 1,
            "element_decoder_layers": 3,
            "element_queries": 20,
            "dropout": 0.0,
            "placed": True,
        },
        FitPreprocessing(short=120, long=160),
        labels="openlane_v2",
        note="ours, for CPUs and quick fine-tuning",
    ),
    # OpenLane-V2's challenge of CVPR 2023
    Recipe(
        "topology_internimage_s",
        "topology",
        "topology",
        {"backbone": dense(S), "released": True},
        FitPreprocessing(short=1550, long=2048),
        labels="openlane_v2",
        elsewhere="https://github.com/OpenGVLab/InternImage/tree/master/autonomous_driving/openlane-v2",
        training=TrainingRecipe(
            "internimage_s_1k_224", replace(TRAINING, drop_path=0.3), DriveAugmentation(queue=1, grid_mask=False)
        ),
        note="InternImage's entry of the CVPR 2023 challenge",
    ),
)
