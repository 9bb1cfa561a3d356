"""What segmenters have in common: resizing, what is learnt of a label map, a second head for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from internimage.errors import ConfigError
from internimage.images.masks import UNKNOWN
from internimage.layers.convolution import ConvNorm


@dataclass(frozen=True)
class Window:
    """How a picture is looked at part by part.

    Attributes:
        size: (height, width) of a part in pixels; a picture that is smaller is one part.
        stride: (down, across) from one part to the next.
    """

    size: tuple[int, int]
    stride: tuple[int, int]

    def __post_init__(self) -> None:
        if min(*self.size, *self.stride) < 1 or any(s > e for s, e in zip(self.stride, self.size, strict=True)):
            raise ConfigError(f"a window of {self.size} with stride {self.stride}; expected 1 <= stride <= size")

    def parts(self, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """Top, left, bottom, right of every part of a picture; the last ones are moved back inside."""
        tops, lefts = (
            [max(0, min(step * stride, extent - size)) for step in range(max(0, -(-(extent - size) // stride)) + 1)]
            for extent, size, stride in zip((height, width), self.size, self.stride, strict=True)
        )
        return [
            (top, left, min(top + self.size[0], height), min(left + self.size[1], width))
            for top in tops
            for left in lefts
        ]


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (N, C, H, W) at another (height, width): bilinear, corners not aligned."""
    return maps if tuple(maps.shape[2:]) == tuple(size) else F.interpolate(maps, tuple(size), mode="bilinear")


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
