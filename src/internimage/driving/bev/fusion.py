"""The ground as it was seen at several moments, made one (BEVFormer v2, Yang et al., CVPR 2023, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.driving.bev.grid import BEVGrid
from internimage.layers.convolution import ConvNorm

_BLOCKS = 3


class FusionBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., 2016), which is a third one where the width changes."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(in_channels, channels, 3)
        self.second = ConvNorm(channels, channels, 3, relu=False)
        alike = in_channels == channels
        self.shortcut = None if alike else ConvNorm(in_channels, channels, 3, relu=False)

    def forward(self, maps: Tensor) -> Tensor:
        beside = maps if self.shortcut is None else self.shortcut(maps)
        return F.relu(self.second(self.first(maps)) + beside)


class Fusion(nn.Module):
    """Features of the same ground at several moments to features of one.

    Args:
        grid: the cells.
        channels: C.
        moments: T.
        width: channels between; None for those of all moments together.
    """

    def __init__(self, grid: BEVGrid, channels: int, moments: int, width: int | None = None) -> None:
        super().__init__()
        self.grid = grid
        width = width or moments * channels
        self.blocks = nn.Sequential(
            *(FusionBlock(moments * channels if number == 0 else width, width) for number in range(_BLOCKS))
        )
        self.linear = nn.Linear(width, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, moments: Sequence[Tensor]) -> Tensor:
        """(N, cells, C) of each moment, in order, to (N, cells, C)."""
        shape = (self.grid.height, self.grid.width)
        maps = torch.cat(list(moments), dim=-1).transpose(1, 2).unflatten(-1, shape)
        result: Tensor = self.norm(self.linear(self.blocks(maps).flatten(2).transpose(1, 2)))
        return result


def filled(moments: Sequence[Tensor | None], there: Sequence[Tensor], now: int) -> list[Tensor]:
    """Features of every moment: where one is missing, those of its neighbour nearer to the present, without gradients.

    Args:
        moments: (N, cells, C) of each, in order; None where no sample has any.
        there: (N,) bool of each, which samples have it.
        now: the place of the present, which all have.
    """
    result = list(moments)
    for steps in (range(now - 1, -1, -1), range(now + 1, len(result))):
        for place in steps:
            own, nearer = result[place], result[place + 1 if place < now else place - 1]
            assert nearer is not None  # it was filled before
            copied = nearer.detach()
            result[place] = copied if own is None else torch.where(there[place][:, None, None], own, copied)
    return [one for one in result if one is not None]
