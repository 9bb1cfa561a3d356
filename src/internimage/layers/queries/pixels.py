"""Pixels of several maps that look at each other before queries look at them (Deformable DETR, 2021; DINO, 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from internimage.layers.attention import DeformableEncoderLayer, padded_sine_position_embedding
from internimage.layers.convolution import ConvNorm, group_norm
from internimage.layers.queries.two_stage import pixel_boxes

LEVELS = 4
_POSITION_BASE = 20.0
_FIRST_SIZE = 0.05  # of the boxes that the finest level's pixels propose, as a share of the image


class ChannelMapper(nn.Module):
    """Maps (N, C_i, H_i, W_i), fine to coarse, to as many of equal width, and one more of half the coarsest's size."""

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(ConvNorm(width, channels, 1, norm=group_norm, relu=False) for width in in_channels)
        self.coarser = ConvNorm(in_channels[-1], channels, 3, norm=group_norm, stride=2, relu=False)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        same = [project(one) for project, one in zip(self.lateral, maps, strict=True)]
        return [*same, self.coarser(maps[-1])]


class Pixels(NamedTuple):
    """Pixels of all levels, one level after the other.

    Attributes:
        values: (N, S, C).
        boxes: (N, S, 4) cxcywh around each, of a size that doubles from level to level; float32, relative to the image
            without its padding.
        padding: (N, S) bool, true outside the images.
        shares: (N, L, 2) how much of each level's width and height the images fill.
        shapes: (height, width) of each level.
    """

    values: Tensor
    boxes: Tensor
    padding: Tensor
    shares: Tensor
    shapes: list[tuple[int, int]]

    @property
    def finest(self) -> Tensor:
        """The finest level as a map (N, C, H, W)."""
        height, width = self.shapes[0]
        return self.values[:, : height * width].transpose(1, 2).unflatten(2, (height, width))


class Encoder(nn.Module):
    """Deformable attention over four maps.

    Args:
        channels, heads, width, parts: see :class:`DeformableEncoderLayer`.
        layers: how many.
    """

    def __init__(self, channels: int, heads: int, layers: int, width: int, parts: int = 1) -> None:
        super().__init__()
        self.level_embedding = nn.Parameter(torch.randn(LEVELS, channels))
        self.layers = nn.ModuleList(
            DeformableEncoderLayer(channels, heads, LEVELS, width, parts) for _ in range(layers)
        )

    def forward(self, maps: Sequence[Tensor], filled: Sequence[tuple[Tensor, Tensor]]) -> Pixels:
        """Maps (N, C, H_i, W_i), and which rows (N, H_i) and columns (N, W_i) of them the images fill."""
        positions, boxes = [], []
        for level, (one, (rows, columns)) in enumerate(zip(maps, filled, strict=True)):
            embedding = padded_sine_position_embedding(rows, columns, one.shape[1], _POSITION_BASE)
            positions.append((embedding + self.level_embedding[level, :, None, None]).flatten(2))
            boxes.append(pixel_boxes(rows, columns, _FIRST_SIZE * 2**level))
        values = torch.cat([one.flatten(2) for one in maps], dim=2).transpose(1, 2)
        position = torch.cat(positions, dim=2).transpose(1, 2).to(values.dtype)
        padding = torch.cat([~(rows[:, :, None] & columns[:, None]).flatten(1) for rows, columns in filled], dim=1)
        shares = [torch.stack([columns.float().mean(1), rows.float().mean(1)], dim=1) for rows, columns in filled]
        shapes = [(one.shape[2], one.shape[3]) for one in maps]
        pixels = Pixels(values, torch.cat(boxes, dim=1), padding, torch.stack(shares, dim=1), shapes)
        reference = pixels.boxes[:, :, None, :2] * pixels.shares[:, None]
        for layer in self.layers:
            values = layer(values, position, reference, shapes, padding)
        return pixels._replace(values=values)
