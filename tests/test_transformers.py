"""UperNet and Mask2Former against the classes of transformers, written independently: equal for equal weights."""

import json
import re
from typing import Any

import torch
from helpers.goldens import GOLDENS, near
from torch import Tensor, nn

from internimage.backbones.config import InternImageConfig
from internimage.checkpoints.layouts import from_ours
from internimage.models.mask2former import Mask2Former, Mask2FormerConfig
from internimage.models.upernet import UperNet, UperNetConfig

RULES: dict[str, list[tuple[str, str]]] = json.loads((GOLDENS / "transformers_names.json").read_text())["rules"]
BACKBONE = InternImageConfig(channels=32, depths=(1, 1, 1, 1), groups=(1, 2, 4, 8))
SHAPES = [(32, 24, 36), (64, 12, 18), (128, 6, 9), (256, 3, 5)]


def renamed(model: nn.Module, rules: str) -> dict[str, Tensor]:
    """The weights of everything but the backbone, by the names of transformers."""
    state: dict[str, Tensor] = {}
    names = from_ours(model.state_dict(), "official", model.config)
    for ours, tensor in model.state_dict().items():
        name = names[ours]
        if name.startswith("backbone."):
            continue
        for pattern, target in RULES[rules]:
            name, count = re.subn(pattern, target, name)
            if count and rules == "mask2former":
                break
        if name.startswith("SPLIT3:"):
            parts = {name.removeprefix("SPLIT3:").replace("{q,k,v}", letter): i for i, letter in enumerate("qkv")}
            state |= {part: tensor.chunk(3)[i] for part, i in parts.items()}
        else:
            state[name] = tensor
    return state


def shaken(model: nn.Module) -> Any:
    """Weights, biases and running means far from where they start."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and not name.startswith("backbone."):
                low = 0.5 if tensor.ndim == 1 and "bias" not in name and "mean" not in name else -0.5
                spread = 1.0 if tensor.ndim == 1 else (tensor[0].numel() / 3) ** -0.5
                tensor.copy_(torch.empty_like(tensor).uniform_(low, low + 1).mul_(spread))
    return model.eval()


def maps(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(count, *shape, generator=generator) for shape in SHAPES]


@torch.no_grad()
def test_upernet() -> None:
    from transformers import UperNetConfig as TheirConfig
    from transformers.models.upernet.modeling_upernet import UperNetFCNHead, UperNetHead

    model: UperNet = shaken(UperNet(UperNetConfig(BACKBONE, 13, channels=48, auxiliary_channels=40)))
    widths = [shape[0] for shape in SHAPES]
    config = TheirConfig(hidden_size=48, num_labels=13, auxiliary_channels=40)
    heads = nn.ModuleDict(
        {"decode_head": UperNetHead(config, widths), "auxiliary_head": UperNetFCNHead(config, widths)}
    )
    heads.load_state_dict(renamed(model, "upernet"))
    heads.eval()
    images = maps(2)
    near(model.logits(images), heads["decode_head"](images), 1e-5)
    assert model.auxiliary is not None
    near(model.auxiliary(images[2]), heads["auxiliary_head"](images), 1e-5)


@torch.no_grad()
def test_mask2former() -> None:
    """What the queries say before the first layer and after each."""
    from transformers import Mask2FormerConfig as TheirConfig
    from transformers.models.mask2former.modeling_mask2former import (
        Mask2FormerPixelDecoder,
        Mask2FormerTransformerModule,
    )

    config = Mask2FormerConfig(
        BACKBONE, 13, channels=64, queries=11, encoder_layers=2, encoder_width=96, decoder_layers=4, decoder_width=80
    )
    model: Mask2Former = shaken(Mask2Former(config))
    theirs = TheirConfig(
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_feedforward_dim=96,
        encoder_layers=2,
        decoder_layers=5,
        num_attention_heads=2,
        dim_feedforward=80,
        num_queries=11,
        dropout=0.0,
    )
    whole = nn.ModuleDict({"class_predictor": nn.Linear(64, 14), "model": nn.Module()})
    whole["model"].pixel_level_module = nn.Module()
    whole["model"].pixel_level_module.decoder = Mask2FormerPixelDecoder(theirs, [shape[0] for shape in SHAPES])
    whole["model"].transformer_module = Mask2FormerTransformerModule(64, theirs)
    whole.load_state_dict(renamed(model, "mask2former"))
    whole.eval()
    images = maps(2)
    pixels = whole["model"].pixel_level_module.decoder(images)
    fine, memories = model.pixel_decoder(images)
    near(fine, pixels.mask_features, 1e-4)
    for ours, each in zip(memories, pixels.multi_scale_features, strict=True):
        near(ours, each, 1e-4)
    decoded = whole["model"].transformer_module(list(pixels.multi_scale_features), pixels.mask_features)
    found = model.predict_masks(images)
    assert len(found) == 5
    expected = zip(decoded.masks_queries_logits, decoded.intermediate_hidden_states, strict=True)
    for layer, (masks, hidden) in zip(found, expected, strict=True):
        near(layer.masks, masks, 1e-3)
        near(layer.logits, whole["class_predictor"](hidden.transpose(0, 1)), 1e-4)
