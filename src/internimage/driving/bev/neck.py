"""Feature pyramid of the driving models (Lin et al., 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class Pyramid(nn.Module):
    """Maps (N, C_i, H_i, W_i), fine to coarse, to ``levels`` of equal width.

    The finest ones, or all and further ones, each made of the one before it with half its size; a ReLU stands between
    these.

    Args:
        in_channels: C_i.
        channels: width of the outputs.
        levels: how many.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, levels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        strides = [1 if level < len(in_channels) else 2 for level in range(levels)]
        self.output = nn.ModuleList(nn.Conv2d(channels, channels, 3, stride, 1) for stride in strides)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        inner = [convolution(one) for convolution, one in zip(self.lateral, maps, strict=True)]
        for level in range(len(inner) - 1, 0, -1):
            finer = inner[level - 1]
            inner[level - 1] = finer + F.interpolate(inner[level], size=finer.shape[2:], mode="nearest")
        outputs: list[Tensor] = []
        for level, convolution in enumerate(self.output):
            if level < len(inner):
                outputs.append(convolution(inner[level]))
            else:
                before = outputs[-1]
                outputs.append(convolution(F.relu(before) if level > len(inner) else before))
        return outputs
