"""The segmenters: small ones of ours here, the released ones in a file for each kind.  One call is one model."""

from __future__ import annotations

from typing import Any

from internimage.checkpoints.hub import PackagedModel
from internimage.images import FitPreprocessing
from internimage.recipes import segmentation_ade20k, segmentation_cityscapes, segmentation_mask2former
from internimage.recipes.backbones import ATTO, ZEPTO
from internimage.recipes.recipe import MeasuredScore, Recipe


def _ours(name: str, architecture: str, plain: dict[str, Any], short: int, **fields: Any) -> Recipe:
    """A small segmenter, for pictures whose shorter side has so many pixels."""
    preprocessing = FitPreprocessing(short, 4 * short)
    fields = {"note": "ours, for CPUs and quick fine-tuning", **fields}
    return Recipe(name, "segmentation", architecture, plain, preprocessing, **fields)


# A hundredth of the released decoders' cost: width 96, and for Mask2Former three layers each.
_OURS = (
    _ours("segformer_internimage_zepto", "segformer", {"backbone": ZEPTO, "channels": 96}, short=256),
    _ours(
        "segformer_internimage_zepto_nuclei_384",
        "segformer",
        {"backbone": ZEPTO, "channels": 96, "num_classes": 3},
        short=384,
        weights=PackagedModel("segformer_internimage_zepto_nuclei_384"),
        measured=MeasuredScore(
            "mIoU on the 19 validation pictures of nuclei",
            "internimage evaluate --part val",
            seeds=(66.1,),
            shipped=66.1,
        ),
        note="ours, in the package: background, nuclei of cells and their boundaries",
    ),
    _ours(
        "upernet_internimage_atto",
        "upernet",
        {"backbone": ATTO, "channels": 96, "auxiliary_channels": None},
        short=320,
    ),
    _ours(
        "mask2former_internimage_atto",
        "mask2former",
        {
            "backbone": ATTO,
            "channels": 96,
            "queries": 50,
            "encoder_layers": 3,
            "encoder_width": 384,
            "decoder_layers": 3,
            "decoder_width": 384,
        },
        short=320,
    ),
)

RECIPES: tuple[Recipe, ...] = (
    *_OURS,
    *segmentation_ade20k.INTERNIMAGE,
    *segmentation_cityscapes.INTERNIMAGE,
    *segmentation_mask2former.INTERNIMAGE,
    *segmentation_ade20k.FLASH,
)
