"""Optimiser groups: weight-decay exemptions, layer-wise learning rates, slower deformable offsets.

The rules are those of the released training code (``optimizer.py``), see :func:`parameter_groups` for where they
differ by default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn

from internimage.backbones.composite import CompositeBackbone
from internimage.backbones.internimage import InternImage
from internimage.errors import ConfigError
from internimage.models.classifier import ImageClassifier
from internimage.models.dino import DINO
from internimage.models.mask2former import Mask2Former
from internimage.models.segformer import SegFormer
from internimage.models.upernet import UperNet

_QUERIES = re.compile(r"(query_|level_embedding|mask_embedding)")
_LEVELS = re.compile(r"encoder\.level_embedding")
_SPARED = re.compile(r"norm|sampling_offsets")
_SAMPLING = re.compile(r"\.(sampling_offsets|dcn\.offset_mask)\.")
_DEFORMABLE = re.compile(r"\.(dcn\.(offset|center_scale)|sampling_offsets)")
_DEFORMABLE_V4 = re.compile(r"\.(dcn\.(offset_mask|depthwise)|sampling_offsets)\.")


@dataclass(frozen=True)
class ParameterRule:
    """What the optimiser does to one parameter: its learning rate over the base rate, and its weight decay."""

    lr_scale: float
    weight_decay: float


def parameter_rules(
    model: nn.Module,
    *,
    weight_decay: float,
    layer_decay: float = 1.0,
    deformable_lr_scale: float = 1.0,
    backbone_lr_scale: float = 1.0,
    as_published: bool = False,
) -> dict[str, ParameterRule]:
    """The rule of every trainable parameter, by name, in the model's order.

    Weight decay spares vectors (biases, norms, layer scales).  ``layer_decay`` < 1 multiplies the learning rate of
    a block by ``layer_decay`` for every block after it; the stem follows the first block, what stands between two
    stages the first block of the second, and heads keep the full rate.  ``deformable_lr_scale`` multiplies the rate of
    offset predictors (with DCNv4 of all that predicts them, weights and the depthwise convolution included) and
    centre-scale gates, ``backbone_lr_scale`` that of backbones.

    The published code differs in two places, and ``as_published`` follows it: the extra norms inside the third stage
    keep the full rate instead of their block's, and ``deformable_lr_scale`` of a classifier needs ``layer_decay`` to
    act.  The code of detectors and segmenters counts the stem and the heads as layers of their own, gives the extra
    norms the rate of the blocks of their numbers, and slows nothing but the offsets of transformers and the offsets and
    weights of DCNv4; that of transformers and segmenters also gives embeddings of levels and Mask2Former's queries the
    rate of the stem, and spares all that is called a norm or sampling offset from weight decay.  It does not see
    composite backbones, which keep the full rate, and spares nothing where ``backbone_lr_scale`` is given.
    """
    if not 0 < layer_decay <= 1:
        raise ConfigError(f"layer_decay is {layer_decay}; expected 0 < layer_decay <= 1")
    backbones = {name: module for name, module in model.named_modules() if isinstance(module, InternImage)}
    layered = as_published and not isinstance(model, ImageClassifier | InternImage)
    by_name = as_published and isinstance(model, DINO | UperNet | SegFormer | Mask2Former)
    composite = any(isinstance(module, CompositeBackbone) for module in model.modules())
    flash = any(backbone.config.layer == "dcnv4" for backbone in backbones.values())
    rules = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = 1.0
        for prefix, backbone in backbones.items():
            inner = name.removeprefix(f"{prefix}.") if prefix else name
            if prefix and inner == name:
                continue
            after = _blocks_after(inner, backbone, as_published)
            if layered:
                after = 0 if composite else _layers_after(inner, backbone)
            scale = layer_decay**after
        if by_name and (_LEVELS if isinstance(model, DINO) else _QUERIES).match(name):
            scale = layer_decay ** (sum(next(iter(backbones.values())).config.depths) + 1)
        slower = _SAMPLING if layered else _DEFORMABLE_V4 if flash else _DEFORMABLE
        if slower.search(f".{name}") and (layered or layer_decay != 1.0 or not as_published):
            scale *= deformable_lr_scale
        if name.startswith("backbone."):
            scale *= backbone_lr_scale
        spared = parameter.ndim <= 1 or (by_name and _SPARED.search(name) is not None)
        spared = spared and not (as_published and backbone_lr_scale != 1.0)
        rules[name] = ParameterRule(scale, 0.0 if spared else weight_decay)
    return rules


def parameter_groups(
    model: nn.Module, rules: dict[str, ParameterRule], lr: float
) -> list[dict[str, float | list[nn.Parameter]]]:
    """Optimiser groups, one for each distinct rule, in the order of their first parameter."""
    parameters = dict(model.named_parameters())
    members: dict[ParameterRule, list[nn.Parameter]] = {}
    for name, rule in rules.items():
        members.setdefault(rule, []).append(parameters[name])
    return [
        {"params": group, "lr": lr * rule.lr_scale, "weight_decay": rule.weight_decay}
        for rule, group in members.items()
    ]


def _blocks_after(name: str, backbone: InternImage, as_published: bool) -> int:
    """How many blocks come after the one that a parameter of a backbone belongs to."""
    depths = backbone.config.depths
    last = sum(depths) - 1
    if name.startswith("stem."):
        return last
    found = re.match(r"stages\.(\d+)\.(?:(blocks|post_norms)\.(\d+)\.)?", name)
    if found is None:
        return 0
    stage = int(found[1])
    first = sum(depths[:stage])
    if found[2] == "blocks":
        return last - (first + int(found[3]))
    if found[2] == "post_norms":
        return 0 if as_published else last - (first + backbone.config.post_norm_blocks[int(found[3])])
    return max(0, last - (first + depths[stage]))  # the stage's norm and downsampling go with the next stage


def _layers_after(name: str, backbone: InternImage) -> int:
    """How many layers come after a parameter's in the released detectors and segmenters: stem, blocks, heads."""
    depths = backbone.config.depths
    heads = sum(depths) + 1
    found = re.match(r"stages\.(\d+)\.(?:(blocks|post_norms)\.(\d+)\.)?", name)
    if name.startswith("stem.") or found is None:
        return heads
    stage = int(found[1])
    if found[2] in ("blocks", "post_norms"):
        return heads - (1 + sum(depths[:stage]) + int(found[3]))
    # downsampling and a stage's norm go with the first block of the next stage, the last norm with that of its own
    return heads - (1 + sum(depths[: min(stage + 1, len(depths) - 1)]))
