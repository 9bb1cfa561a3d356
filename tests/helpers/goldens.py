"""Outputs of the released code ("goldens"), and models with the deterministic weights that they were computed with."""

import gzip
import importlib.util
import json
import os
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helpers import fill
from internimage.backbones.config import InternImageConfig
from internimage.checkpoints.layouts import from_ours
from internimage.models.classifier import ClassifierConfig, ImageClassifier
from internimage.recipes import get_recipe

SHARED = Path(os.environ.get("INTERNIMAGE_SHARED", Path(__file__).parents[3] / "shared"))


GOLDENS = Path(__file__).parents[1] / "goldens"


def law_of_weights(path: Path) -> Any:
    """A module of the shared folder that makes weights from names."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Golden:
    """``name.json`` in ``info``, ``name.npz`` in ``arrays``; tensors by subscription."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def info(self) -> dict[str, Any]:
        return json.loads((GOLDENS / f"{self.name}.json").read_text())

    @cached_property
    def arrays(self) -> dict[str, Any]:
        with np.load(GOLDENS / f"{self.name}.npz", allow_pickle=False) as file:
            return dict(file)

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])


golden = cache(Golden)


@cache
def manifests() -> dict[str, dict[str, Any]]:
    """Keys, shapes and dtypes of the thirteen checkpoints, by recipe name."""
    entries = json.loads(gzip.decompress((GOLDENS / "manifests.json.gz").read_bytes()))
    return {entry["checkpoint"].removesuffix(".pth"): entry for entry in entries}


def near(found: Tensor, expected: Tensor, atol: float, rtol: float = 0.0) -> None:
    """Every element within tolerance, in whatever dtypes."""
    torch.testing.assert_close(found.detach(), expected.detach(), rtol=rtol, atol=atol, check_dtype=False)


def config_from_official(options: dict[str, Any], metadata_channels: int | None = None) -> ClassifierConfig:
    """Our configuration for the options of the released constructors."""
    flash = options.get("core_op") == "DCNv4"
    backbone = InternImageConfig(
        channels=options["channels"],
        depths=tuple(options["depths"]),
        groups=tuple(options["groups"]),
        mlp_ratio=options.get("mlp_ratio", 4.0),
        norm_layer={"LN": "layer", "BN": "batch"}[options.get("norm_layer", "LN")],
        activation=options.get("act_layer", "GELU").split()[0].lower(),
        post_norm=options.get("post_norm", False),
        res_post_norm=options.get("res_post_norm", False),
        layer_scale=options.get("layer_scale"),
        offset_scale=options.get("offset_scale", 0.5 if flash else 1.0),
        depthwise_kernel_size=options.get("dw_kernel_size", None if flash else 3),
        center_feature_scale=options.get("center_feature_scale", False),
        remove_center=options.get("remove_center", False),
        post_norm_blocks=tuple(options.get("level2_post_norm_block_ids") or ()),
        layer="dcnv4" if flash else "dcnv3",
        output_bias=options.get("dcn_output_bias", not flash),
        mlp_bias=options.get("mlp_fc2_bias", not flash),
    )
    head = "attention_pool" if options.get("use_clip_projector") else "conv"
    expansion = options.get("cls_scale") or 1.5
    return ClassifierConfig(backbone, options["num_classes"], head, expansion, metadata_channels)


def official_names(model: ImageClassifier) -> dict[str, str]:
    """Our names to the official ones, in the model's order."""
    return from_ours(model.state_dict(), "official", model.config)


def filled(model: str | ClassifierConfig, dtype: torch.dtype = torch.float32) -> ImageClassifier:
    """A classifier with the goldens' weights, in evaluation mode; one copy of the weights is all it takes."""
    config = get_recipe(model).config if isinstance(model, str) else model
    with torch.device("meta"):
        classifier = ImageClassifier(config).eval()
    names = official_names(classifier)
    state = {
        ours: fill.tensor_for(names[ours], tensor.shape).to(dtype) if tensor.is_floating_point() else torch.tensor(0)
        for ours, tensor in classifier.state_dict().items()
    }
    classifier.load_state_dict(state, assign=True)
    return classifier


def metadata(batch: int, config: ClassifierConfig, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Time and place as the goldens use them, for models that read them."""
    parts = (("temporal", 4), ("spatial", 3)) if config.metadata_channels else ()
    return tuple(fill.make_input((batch, width), 0, name).to(dtype) for name, width in parts)
