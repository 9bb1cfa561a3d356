"""A convolution, its norm and a ReLU, as many necks and heads stack them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from internimage.ops import LayerNorm, conv2d

Norm = Callable[[int], nn.Module]


def group_norm(channels: int) -> nn.Module:
    """GroupNorm of 32 groups."""
    return _GroupNorm(32, channels)


class _GroupNorm(nn.GroupNorm):
    """Of one pixel of one picture, too, where a group is one channel: PyTorch's refuses it, though not of two."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class LayerNorm2d(LayerNorm):
    """LayerNorm over the channels of maps (N, C, H, W), as of ViTDet's necks (Li et al., 2022)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNorm(nn.Module):
    """Maps (N, C, H, W) to maps of the same size over ``stride``: convolution, norm and, if asked for, ReLU.

    Args:
        in_channels: C.
        channels: width of the result.
        kernel_size: odd.
        norm: makes the norm for a number of channels.
        stride, bias: of the convolution.
        relu: whether a ReLU follows.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel_size: int,
        *,
        norm: Norm = nn.BatchNorm2d,
        stride: int = 1,
        bias: bool = False,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel_size, stride, kernel_size // 2, bias=bias)
        self.norm = norm(channels)
        self.relu = relu
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, maps: Tensor) -> Tensor:
        return conv2d(self.conv, maps, self.norm, relu=self.relu)
