"""The rectangle that lines lie in: a region and a margin around it, as shares from 0 to 1 or as numbers of cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from internimage.driving.bev.grid import BEVGrid

_MARGIN = 1.0  # metres on each side: lines that are cut at the region's edge end well inside of the canvas


@dataclass(frozen=True)
class Canvas:
    """A region and its margin (Liu et al., VectorMapNet, ICML 2023, normalise by the region and 2 m).

    Attributes:
        grid: what lies in the region; along x and y the canvas has as many cells as this.
    """

    grid: BEVGrid

    @property
    def cells(self) -> tuple[int, int]:
        """Along x and y."""
        return self.grid.width, self.grid.height

    @property
    def size(self) -> tuple[float, float]:
        """Metres along x and y."""
        return self.grid.sides[0] + 2 * _MARGIN, self.grid.sides[1] + 2 * _MARGIN

    def metres(self, shares: Tensor) -> Tensor:
        """Places (..., 2) in the vehicle's frame from shares of the canvas."""
        return shares * shares.new_tensor(self.size) + shares.new_tensor(self.grid.extent[:2]) - _MARGIN

    def shares(self, metres: Tensor) -> Tensor:
        """The way back."""
        low = metres.new_tensor(self.grid.extent[:2]) - _MARGIN
        return (metres - low) / metres.new_tensor(self.size)

    def grid_shares(self, shares: Tensor) -> Tensor:
        """The same places as shares of the grid's width and height; those of the margin lie outside."""
        sides = shares.new_tensor(self.grid.sides[:2])
        return (shares * shares.new_tensor(self.size) - _MARGIN) / sides

    def tokens(self, metres: Tensor) -> Tensor:
        """(..., 2) int64 numbers of the cells along x and y in which places lie, from 1; the nearest for others."""
        cells = torch.tensor(self.cells, device=metres.device)
        return ((self.shares(metres) * cells).floor().long() + 1).clamp(min=torch.ones_like(cells), max=cells)

    def token_shares(self, tokens: Tensor) -> Tensor:
        """(..., 2) float32 shares of the canvas: the middles of cells."""
        return (tokens.float() - 0.5) / torch.tensor(self.cells, device=tokens.device)
