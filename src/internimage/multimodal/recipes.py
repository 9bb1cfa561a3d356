"""The models of pictures and words: the released Uni-Perceivers, and ours on InternImage.  One call is one model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from internimage.images import FitPreprocessing, Preprocessing
from internimage.recipes.backbones import ATTO, T
from internimage.recipes.recipe import PublishedScore, Recipe

_BLEU = "COCO captions BLEU-4"
_TASK = "describing"

_LARGE: dict[str, Any] = {"width": 1024, "layers": 24, "heads": 16, "feed_forward": 4096}


def _released(name: str, plain: dict[str, Any], published: PublishedScore | None, note: str) -> Recipe:
    """A released model, at 224 pixels."""
    return Recipe(
        name,
        _TASK,
        "uniperceiver",
        {**plain, "random_time": True},
        Preprocessing(224, 224),
        elsewhere="https://github.com/fundamentalvision/Uni-Perceiver",
        published=published,
        note=note,
    )


RECIPES: tuple[Recipe, ...] = (
    # ours
    Recipe(
        "uniperceiver_internimage_atto",
        _TASK,
        "uniperceiver",
        {
            "backbone": replace(ATTO, channels=16, depths=ATTO.depths[:2], groups=(2, 4)),
            "width": 80,
            "layers": 3,
            "heads": 4,
            "feed_forward": 240,
            "layer_scale": None,
            "vocabulary": (),
        },
        Preprocessing(64, 64),
        note="ours, for CPUs and quick training",
    ),
    Recipe(
        "uniperceiver_internimage_t",
        _TASK,
        "uniperceiver",
        {"backbone": T, "layers": 6},
        Preprocessing(224, 224),
        note="Uni-Perceiver's width on InternImage-T; no weights were published",
    ),
    # Uni-Perceiver (Zhu et al., CVPR 2022)
    _released(
        "uniperceiver_base",
        {},
        PublishedScore(_BLEU, 32.0),
        "published without fine-tuning, with 79.2 % top-1 on ImageNet-1K and R@1 64.9 / 50.7 on COCO",
    ),
    _released("uniperceiver_large", _LARGE, None, "stage 2 of its training, 224 pixels"),
    # Uni-Perceiver-MoE (Zhu et al., NeurIPS 2022)
    _released("uniperceiver_moe_base", {"experts": 8}, None, "eight experts in every second layer, two at work"),
    _released("uniperceiver_moe_large", {**_LARGE, "experts": 8}, None, "as uniperceiver_moe_base"),
)

# Uni-Perceiver v2 (Li et al., CVPR 2023); nothing was released
GENERALISTS: tuple[Recipe, ...] = (
    Recipe(
        "uniperceiver_v2_internimage_atto",
        "generalist",
        "uniperceiver_v2",
        {
            "backbone": replace(ATTO, channels=16, depths=(2, 2, 1, 1), groups=(2, 4, 8, 8)),
            "proposals": {
                "channels": 64,
                "queries": 20,
                "encoder_layers": 1,
                "decoder_layers": 2,
                "width": 64,
                "encoder_width": 64,
                "denoising": 20,
                "mask_width": 32,
                "mask_points": 512,
                "kept": 12,
            },
            "text": {"width": 80, "layers": 2, "heads": 4, "feed_forward": 160, "longest": 64},
            "width": 80,
            "layers": 3,
            "heads": 4,
            "feed_forward": 240,
            "experts": 4,
            "layer_scale": None,
            "side": 64,
            "cells": 1,  # the last map of so small a picture has four cells
            "vocabulary": (),
            "detections": 12,
        },
        FitPreprocessing(64, 64),
        note="ours, for CPUs and quick training",
    ),
    Recipe(
        "uniperceiver_v2_internimage_t",
        "generalist",
        "uniperceiver_v2",
        {"backbone": T},
        FitPreprocessing(),
        note="the paper's sizes on InternImage-T; no weights were published",
    ),
)

# M3I (Su et al., CVPR 2023); nothing was released
PRETRAINING: tuple[Recipe, ...] = (
    Recipe(
        "m3i_internimage_atto",
        "pretraining",
        "m3i",
        {
            "backbone": ATTO,
            "width": 128,
            "layers": 2,
            "heads": 4,
            "feed_forward": 512,
            "shared": 128,
            "text_width": 64,
            "text_layers": 2,
        },
        Preprocessing(128, 128),
        note="ours, for CPUs and quick training; its backbone is internimage_atto's",
    ),
    Recipe(
        "m3i_internimage_t",
        "pretraining",
        "m3i",
        {"backbone": T},
        Preprocessing(224, 224),
        note="InternImage-T's backbone, pre-trained on one's own pictures; no weights were published",
    ),
)
