"""From features of a grid on the ground to classes of the space above it, without convolutions in space.

After FlashOcc (Yu et al., 2023, https://arxiv.org/abs/2311.12058): a cell's channels tell its whole column.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.driving.bev.grid import BEVGrid
from internimage.driving.voxels.decoder import LEAST_SHARE
from internimage.layers.convolution import ConvNorm


class PlaneDecoder(nn.Module):
    """Convolutions on the ground, then one linear layer for all voxels above a cell.

    Where ``finer`` is even, the cells are first halved, by interpolation and a further convolution.

    Args:
        grid: the cells.
        channels: C of the cells.
        heights: voxels above a cell.
        width: channels of the halved cells.
        classes: that a voxel may be of.
        finer: voxels along each side of a cell of the grid.
    """

    def __init__(self, grid: BEVGrid, channels: int, heights: int, width: int, classes: int, finer: int = 1) -> None:
        super().__init__()
        halved = finer % 2 == 0
        self.shape, self.heights, self.finer = (grid.height, grid.width), heights, finer // (1 + halved)
        self.convolutions = nn.Sequential(ConvNorm(channels, channels if halved else width, 3))
        if halved:
            self.convolutions.append(nn.Upsample(scale_factor=2, mode="bilinear"))
            self.convolutions.append(ConvNorm(channels, width, 3))
        self.classifier = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), self._last(2 * width, classes))

    def _last(self, width: int, classes: int) -> nn.Linear:
        """Of each voxel above a cell, by its height, then its place x and y in the cell."""
        layer = nn.Linear(width, self.heights * self.finer**2 * classes)
        nn.init.normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
        return layer

    def reset_classifier(self, classes: int) -> None:
        """Tell so many classes apart, from the beginning."""
        last = self.classifier[2]
        assert isinstance(last, nn.Linear)
        self.classifier[2] = self._last(last.in_features, classes).to(last.weight)

    @torch.no_grad()
    def begin_with(self, shares: Tensor) -> None:
        """Begin with how frequent classes are at each height, (heights, classes)."""
        frequent = shares.clamp(min=LEAST_SHARE).log()
        last = self.classifier[2]
        assert isinstance(last, nn.Linear)
        last.bias.copy_(frequent[:, None].expand(-1, self.finer**2, -1).flatten())

    def forward(self, cells: Tensor) -> Tensor:
        """Cells (N, Q, C) to logits (N, X, Y, Z, classes); x along the grid's columns, y along its rows."""
        columns = self.classifier(self._plane(cells))
        parts = columns.unflatten(-1, (self.heights, self.finer, self.finer, -1))  # N, X, Y, Z, x, y, classes
        logits: Tensor = parts.permute(0, 1, 4, 2, 5, 3, 6).flatten(3, 4).flatten(1, 2)
        return logits

    def chosen(self, cells: Tensor, chosen: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (P, classes) of some voxels alone, and their labels (P,) int64: most of space is free and not learnt.

        Args:
            cells: (N, Q, C).
            chosen: (N, X, Y, Z) bool, the P voxels.
            labels: (N, X, Y, Z).
        """
        plane = self._plane(cells)
        hidden, last = self.classifier[1](self.classifier[0](plane)).flatten(0, 2), self.classifier[2]
        assert isinstance(last, nn.Linear)
        count = self.heights * self.finer**2
        weights, biases = last.weight.unflatten(0, (count, -1)), last.bias.unflatten(0, (count, -1))
        places = chosen.flatten().nonzero()[:, 0]
        cell, part = self._cells_of(places, plane.shape[1], plane.shape[2])
        part, order = part.sort()  # each place above a cell has weights of its own
        rows = hidden.index_select(0, cell[order]).split(part.bincount(minlength=count).tolist())
        each = zip(rows, weights.unbind(), biases.unbind(), strict=True)
        logits = torch.cat([F.linear(own, weight, bias) for own, weight, bias in each])
        return logits, labels.flatten()[places[order]].long()

    def _cells_of(self, places: Tensor, columns: int, rows: int) -> tuple[Tensor, Tensor]:
        """Numbers (P,) of voxels among N, X, Y, Z to those of cells among N, columns, rows and of parts above them."""
        rest, z = places // self.heights, places % self.heights
        rest, y = rest // (rows * self.finer), rest % (rows * self.finer)
        frame, x = rest // (columns * self.finer), rest % (columns * self.finer)
        cell = (frame * columns + x // self.finer) * rows + y // self.finer
        return cell, (z * self.finer + x % self.finer) * self.finer + y % self.finer

    def _plane(self, cells: Tensor) -> Tensor:
        """(N, X, Y, width)."""
        plane = cells.transpose(1, 2).unflatten(-1, self.shape).contiguous(memory_format=torch.channels_last)
        return self.convolutions(plane).permute(0, 3, 2, 1)  # type: ignore[no-any-return]
