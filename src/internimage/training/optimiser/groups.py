"""Optimiser groups: weight-decay exemptions, layer-wise learning rates, slower deformable offsets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn

from internimage.errors import ConfigError
from internimage.models.model import Model
from internimage.training.optimiser import published

_DEFORMABLE = re.compile(r"\.(dcn\.(offset|center_scale)|conv2\.offset_mask|sampling_offsets)")
_DEFORMABLE_V4 = re.compile(r"\.(dcn\.(offset_mask|depthwise)|sampling_offsets)\.")


@dataclass(frozen=True)
class ParameterRule:
    """What the optimiser does to one parameter: its learning rate over the base rate, and its weight decay."""

    lr_scale: float
    weight_decay: float


def parameter_rules(
    model: Model,
    *,
    weight_decay: float,
    layer_decay: float = 1.0,
    deformable_lr_scale: float = 1.0,
    backbone_lr_scale: float = 1.0,
    as_published: bool = False,
) -> dict[str, ParameterRule]:
    """The rule of every trainable parameter, by name, in the model's order.

    Weight decay spares vectors (biases, norms, layer scales).  ``layer_decay`` < 1 multiplies the learning rate of
    a layer (:meth:`Model.layer_prefixes`) by ``layer_decay`` for every layer after it; heads keep the full rate.
    ``deformable_lr_scale`` multiplies the rate of offset predictors (with DCNv4 of all that predicts them, weights and
    the depthwise convolution included) and centre-scale gates, ``backbone_lr_scale`` that of backbones, and
    :attr:`Model.slower` that of what it names.

    ``as_published`` follows the released code where it differs, see :mod:`internimage.training.optimiser.published`.
    """
    if not 0 < layer_decay <= 1:
        raise ConfigError(f"layer_decay is {layer_decay}; expected 0 < layer_decay <= 1")
    optimizer, layers = model.released_optimizer, model.layer_prefixes()
    backbones = {prefix: network.config for prefix, network in model.backbones().items()}
    by_layer = as_published and optimizer.by_layer
    flash = any(config.family == "FlashInternImage" for config in backbones.values())
    slower = published.SAMPLING if by_layer else _DEFORMABLE_V4 if flash else _DEFORMABLE
    slows = by_layer or layer_decay != 1.0 or not as_published
    rules = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if as_published:
            after = published.layers_after(name, optimizer, backbones)
            spared = published.is_spared(name, parameter.ndim, optimizer, backbone_lr_scale)
        else:
            after, spared = _layers_after(name, layers), parameter.ndim <= 1
        scale = layer_decay**after
        if slows and slower.search(f".{name}"):
            scale *= deformable_lr_scale
        if name.startswith("backbone."):
            scale *= backbone_lr_scale
        for prefix, factor in model.slower.items():
            scale *= factor if name.startswith(prefix) else 1.0
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


def _layers_after(name: str, layers: list[tuple[str, ...]]) -> int:
    """How many layers come after the one that a parameter belongs to; 0 for what is in none."""
    return next((len(layers) - 1 - i for i, layer in enumerate(layers) if name.startswith(layer)), 0)
