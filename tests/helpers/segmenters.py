"""Released segmenters."""

import json
from pathlib import Path
from typing import Any

from internimage.backbones.config import InternImageConfig
from internimage.models.mask2former import Mask2FormerConfig
from internimage.models.segformer import SegFormerConfig
from internimage.models.upernet import UperNetConfig
from internimage.recipes.segmentation import RECIPES
from internimage.settings.views import Window

CONFIGURATIONS = "spec/checkpoints/segmentation"


SEGMENTERS = [recipe.name for recipe in RECIPES if recipe.labels]


def manifests(shared: Path, name: str) -> list[dict[str, Any]]:
    """Of a recipe; two for the one whose file has two protocols."""
    files = sorted(
        (shared / CONFIGURATIONS / ".." / ("flash" if "_flash_" in name else "segmentation")).glob(f"{name}*.json")
    )
    found = [json.loads(file.read_text()) for file in files if file.stem in (name, f"{name}_ss", f"{name}_ms")]
    assert found
    return found


BACKBONE = InternImageConfig(channels=16, depths=(1, 1, 1, 1), groups=(1, 2, 4, 8))
CONFIGS = {
    "small_upernet": UperNetConfig(BACKBONE, 5, channels=16, auxiliary_channels=8),
    "small_segformer": SegFormerConfig(BACKBONE, 5, channels=16, window=Window((64, 64), (32, 48))),
    "small_mask2former": Mask2FormerConfig(
        BACKBONE, 5, 32, 6, encoder_layers=1, encoder_width=32, decoder_layers=3, decoder_width=32
    ),
}
