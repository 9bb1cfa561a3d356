"""Feature pyramid (Lin et al., 2017, https://arxiv.org/abs/1612.03144)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class FPN(nn.Module):
    """Maps (N, C_i, H_i, W_i), fine to coarse, to as many of equal width, and one of half the coarsest's size.

    Args:
        in_channels: C_i.
        channels: width of the outputs.
    """

    def __init__(self, in_channels: Sequence[int], channels: int = 256) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        self.output = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        for layer in (*self.lateral, *self.output):
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        inner = [convolution(one) for convolution, one in zip(self.lateral, maps, strict=True)]
        for level in range(len(inner) - 1, 0, -1):
            finer = inner[level - 1]
            inner[level - 1] = finer + F.interpolate(inner[level], size=finer.shape[2:], mode="nearest")
        outputs = [convolution(one) for convolution, one in zip(self.output, inner, strict=True)]
        return [*outputs, F.max_pool2d(outputs[-1], 1, stride=2)]
