"""From features of a grid on the ground to classes of the space above it (InternImage's occupancy prediction, 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.driving.bev.grid import BEVGrid
from internimage.errors import ConfigError


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
        grid: the cells.
        channels: C of the cells, a multiple of ``heights``.
        heights: voxels above a cell.
        width: channels of a voxel.
        classes: that a voxel may be of.
        finer: voxels along each side of a cell.

    Raises:
        ConfigError: the channels do not divide.
    """

    def __init__(self, grid: BEVGrid, channels: int, heights: int, width: int, classes: int, finer: int = 1) -> None:
        super().__init__()
        if channels % heights:
            raise ConfigError(f"channels is {channels}; expected a multiple of the {heights} heights")
        self.shape, self.heights, self.width, self.finer = (grid.height, grid.width), heights, width, finer
        self.convolutions = nn.Sequential(_Convolution(channels // heights, width), _Convolution(width, width))
        self.classifier = nn.Sequential(nn.Linear(width, 2 * width), nn.Softplus(), self.last(classes))

    def last(self, classes: int) -> nn.Linear:
        """A new layer that tells so many classes apart, of each voxel in a cell."""
        return nn.Linear(2 * self.width, self.finer**2 * classes)

    def forward(self, cells: Tensor) -> Tensor:
        """Cells (N, Q, C) to logits (N, X, Y, Z, classes); x along the grid's columns, y along its rows."""
        logits: Tensor = self.classifier(self._space(cells))
        if self.finer == 1:
            return logits
        parts = logits.unflatten(-1, (self.finer, self.finer, -1))  # N, X, Y, Z, x, y, classes
        return parts.permute(0, 1, 4, 2, 5, 3, 6).flatten(3, 4).flatten(1, 2)

    def chosen(self, cells: Tensor, chosen: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (P, classes) of some voxels alone, and their labels (P,) int64: most of space is free and not learnt.

        Args:
            cells: (N, Q, C).
            chosen: (N, X, Y, Z) bool, the P voxels.
            labels: (N, X, Y, Z).
        """
        hidden = self.classifier[1](self.classifier[0](self._space(cells))).flatten(0, 3)
        last, finer = self.classifier[2], self.finer
        assert isinstance(last, nn.Linear)
        weights, biases = last.weight.unflatten(0, (finer**2, -1)), last.bias.unflatten(0, (finer**2, -1))
        # voxels by their place in a cell: x, y, then N, X, Y, Z of the cell
        chosen, labels = (
            one.unflatten(2, (-1, finer)).unflatten(1, (-1, finer)).permute(2, 4, 0, 1, 3, 5).flatten(0, 1).flatten(1)
            for one in (chosen, labels)
        )
        rows = [hidden[mask.nonzero()[:, 0]] for mask in chosen]
        logits = [F.linear(*one) for one in zip(rows, weights, biases, strict=True)]
        return torch.cat(logits), labels[chosen].long()

    def _space(self, cells: Tensor) -> Tensor:
        """(N, X, Y, Z, width)."""
        space = cells.transpose(1, 2).unflatten(1, (-1, self.heights)).unflatten(-1, self.shape)  # N, m, Z, Y, X
        space = self.convolutions(space)
        return space.permute(0, 4, 3, 2, 1)
