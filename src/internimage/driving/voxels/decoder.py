"""From features of a grid on the ground to classes of the space above it (InternImage's occupancy prediction, 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.driving.bev.grid import BEVGrid
from internimage.errors import ConfigError

LEAST_SHARE = 1e-4  # of a class, with which a network begins


class _Convolution(nn.Module):
    """3x3x3, batch norm, ReLU."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm3d(out_channels)

    def forward(self, space: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(space)))


class VoxelDecoder(nn.Module):
    """Channels of a cell become heights above it, with fewer channels each: channel m * heights + z is m at height z.

    Args:
        grid: the cells, each as wide as a voxel.
        channels: C of the cells, a multiple of ``heights``.
        heights: voxels above a cell.
        width: channels of a voxel.
        classes: that a voxel may be of.

    Raises:
        ConfigError: the channels do not divide.
    """

    def __init__(self, grid: BEVGrid, channels: int, heights: int, width: int, classes: int) -> None:
        super().__init__()
        if channels % heights:
            raise ConfigError(f"channels is {channels}; expected a multiple of the {heights} heights")
        self.shape, self.heights = (grid.height, grid.width), heights
        self.convolutions = nn.Sequential(_Convolution(channels // heights, width), _Convolution(width, width))
        self.classifier = nn.Sequential(nn.Linear(width, 2 * width), nn.Softplus(), nn.Linear(2 * width, classes))

    def reset_classifier(self, classes: int) -> None:
        """Tell so many classes apart, from the beginning."""
        last = self.classifier[2]
        assert isinstance(last, nn.Linear)
        self.classifier[2] = nn.Linear(last.in_features, classes).to(last.weight)

    @torch.no_grad()
    def begin_with(self, shares: Tensor) -> None:
        """Begin with how frequent classes are, (heights, classes): here the same at all heights."""
        last = self.classifier[2]
        assert isinstance(last, nn.Linear)
        last.bias.copy_(shares.mean(0).clamp(min=LEAST_SHARE).log())

    def forward(self, cells: Tensor) -> Tensor:
        """Cells (N, Q, C) to logits (N, X, Y, Z, classes); x along the grid's columns, y along its rows."""
        logits: Tensor = self.classifier(self._space(cells))
        return logits

    def chosen(self, cells: Tensor, chosen: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (P, classes) of some voxels alone, and their labels (P,) int64: most of space is free and not learnt.

        Args:
            cells: (N, Q, C).
            chosen: (N, X, Y, Z) bool, the P voxels.
            labels: (N, X, Y, Z).
        """
        places = chosen.flatten().nonzero()[:, 0]
        logits: Tensor = self.classifier(self._space(cells).flatten(0, 3).index_select(0, places))
        return logits, labels.flatten()[places].long()

    def _space(self, cells: Tensor) -> Tensor:
        """(N, X, Y, Z, width)."""
        space = cells.transpose(1, 2).unflatten(1, (-1, self.heights)).unflatten(-1, self.shape)  # N, m, Z, Y, X
        space = self.convolutions(space.contiguous(memory_format=torch.channels_last_3d))  # twice as fast on CPUs
        return space.permute(0, 4, 3, 2, 1)
