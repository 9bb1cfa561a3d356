"""What segmenters have in common: resizing, what is learnt of a label map, a second head for training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.images.masks import UNKNOWN
from internimage.layers.convolution import ConvNorm


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (N, C, H, W) at another (height, width): bilinear, corners not aligned."""
    return maps if tuple(maps.shape[2:]) == tuple(size) else F.interpolate(maps, tuple(size), mode="bilinear")


def average_to_grid(maps: Tensor, side: int) -> Tensor:
    """Means of maps (N, C, H, W) over ``side`` x ``side`` cells, which overlap where the size does not divide."""
    if not torch.compiler.is_exporting():
        return F.adaptive_avg_pool2d(maps, side)
    # a graph for any size: the same means as products of matrices, whose rows are the cells
    rows, columns = (_cells(length, side, maps) for length in maps.shape[2:])
    return rows @ maps @ columns.T


def _cells(length: int, side: int, like: Tensor) -> Tensor:
    """Weights (side, length) of the places in each cell, which sum to one."""
    place = torch.arange(length, device=like.device)
    cell = torch.arange(side, device=like.device)[:, None]
    inside = (place >= cell * length // side) & (place < ((cell + 1) * length + side - 1) // side)
    weights = inside.to(like.dtype)
    return weights / weights.sum(dim=1, keepdim=True)


def pixel_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of maps (N, K, H, W), brought to the size of the truth (N, H, W), as a mean over all pixels.

    Unknown pixels add nothing to the sum, and count, as in the released training code.
    """
    enlarged = resize(logits, truth.shape[1:]).float()
    return F.cross_entropy(enlarged, truth, ignore_index=UNKNOWN, reduction="sum") / truth.numel()


def class_layer(channels: int, num_classes: int) -> nn.Conv2d:
    """A convolution (1x1) from features to one map a class."""
    layer = nn.Conv2d(channels, num_classes, 1)
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class AuxiliaryHead(nn.Module):
    """A small head on one map, which helps training and is not used afterwards (Long et al., FCN, 2015).

    Args:
        in_channels: of the map.
        channels: width of its convolution.
        num_classes: maps of the result.
        dropout: share of channels dropped in training.
    """

    def __init__(self, in_channels: int, channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.convolution = ConvNorm(in_channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = class_layer(channels, num_classes)

    def forward(self, one: Tensor) -> Tensor:
        result: Tensor = self.classifier(self.dropout(self.convolution(one)))
        return result
