"""Feature pyramid (Lin et al., 2017, https://arxiv.org/abs/1612.03144)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from internimage.errors import ConfigError
from internimage.layers.convolution import ConvNorm, LayerNorm2d
from internimage.ops import conv2d


class FPN(nn.Module):
    """Maps (N, C_i, H_i, W_i), fine to coarse, to as many of equal width, and further ones of half the size each.

    Args:
        in_channels: C_i, of one map or more.
        channels: width of the outputs.
        norm: whether a LayerNorm follows every convolution, which then has no bias (Li et al., 2022).
        extra: how many further maps 3x3 convolutions of stride 2 make out of the coarsest output, with a ReLU between
            them, as in FCOS (Tian et al., 2019); None for a map of every second of its pixels.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int = 256, *, norm: bool = False, extra: int | None = None
    ) -> None:
        super().__init__()
        if not in_channels or (extra or 0) < 0:
            raise ConfigError(
                f"a pyramid on {len(in_channels)} maps with {extra} further ones; expected 1 or more, 0 or more"
            )
        self.extra = extra
        self.lateral = nn.ModuleList(_convolution(width, channels, 1, norm) for width in in_channels)
        self.output = nn.ModuleList(_convolution(channels, channels, 3, norm) for _ in in_channels)
        self.output.extend(_convolution(channels, channels, 3, norm, stride=2) for _ in range(extra or 0))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        inner = [convolution(one) for convolution, one in zip(self.lateral, maps, strict=True)]
        for level in range(len(inner) - 1, 0, -1):
            finer = inner[level - 1]
            inner[level - 1] = finer + F.interpolate(inner[level], size=finer.shape[2:], mode="nearest")
        convolutions = list(self.output)
        same, further = convolutions[: len(inner)], convolutions[len(inner) :]
        outputs = [conv2d(layer, one) for layer, one in zip(same, inner, strict=True)]
        if self.extra is None:
            return [*outputs, F.max_pool2d(outputs[-1], 1, stride=2)]
        for number, convolution in enumerate(further):
            outputs.append(convolution(F.relu(outputs[-1]) if number else outputs[-1]))
        return outputs


def _convolution(in_channels: int, channels: int, size: int, norm: bool, stride: int = 1) -> nn.Module:
    if norm:
        return ConvNorm(in_channels, channels, size, norm=LayerNorm2d, stride=stride, relu=False)
    return nn.Conv2d(in_channels, channels, size, stride, padding=size // 2)
