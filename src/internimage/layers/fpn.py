"""Feature pyramid (Lin et al., 2017, https://arxiv.org/abs/1612.03144)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from internimage.layers.convolution import ConvNorm, LayerNorm2d


class FPN(nn.Module):
    """Maps (N, C_i, H_i, W_i), fine to coarse, to as many of equal width, and one of half the coarsest's size.

    Args:
        in_channels: C_i.
        channels: width of the outputs.
        norm: whether a LayerNorm follows every convolution, which then has no bias (Li et al., 2022).
    """

    def __init__(self, in_channels: Sequence[int], channels: int = 256, *, norm: bool = False) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_convolution(width, channels, 1, norm) for width in in_channels)
        self.output = nn.ModuleList(_convolution(channels, channels, 3, norm) for _ in in_channels)
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
        outputs = [convolution(one) for convolution, one in zip(self.output, inner, strict=True)]
        return [*outputs, F.max_pool2d(outputs[-1], 1, stride=2)]


def _convolution(in_channels: int, channels: int, size: int, norm: bool) -> nn.Module:
    if norm:
        return ConvNorm(in_channels, channels, size, norm=LayerNorm2d, relu=False)
    return nn.Conv2d(in_channels, channels, size, padding=size // 2)
