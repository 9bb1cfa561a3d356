"""The grid on the ground that features of all cameras are gathered in, and the pillars that stand on its cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from internimage.errors import ConfigError

_MARGIN = 0.5  # metres from the floor and the ceiling to the nearest point of a pillar


@dataclass(frozen=True)
class BEVGrid:
    """Cells seen from above, row by row: cell y * width + x.

    Attributes:
        height, width: cells along y and x.
        extent: (x0, y0, z0, x1, y1, z1) in metres, in the frame of the boxes, usually the lidar's.
        pillars: points above each cell at which cameras are asked.
    """

    height: int = 200
    width: int = 200
    extent: tuple[float, float, float, float, float, float] = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
    pillars: int = 4

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.pillars) < 1:
            raise ConfigError(f"a grid of {self.height}x{self.width} cells, {self.pillars} points; expected 1 or more")
        if len(self.extent) != 6 or min(self.sides) <= 0 or self.sides[2] <= 2 * _MARGIN:
            raise ConfigError(
                f"a grid's extent is {self.extent}; expected (x0, y0, z0, x1, y1, z1) in metres, the latter greater, "
                "and more than a metre high"
            )

    @property
    def cells(self) -> int:
        """How many there are."""
        return self.height * self.width

    @property
    def sides(self) -> tuple[float, float, float]:
        """Metres along x, y and z."""
        x0, y0, z0, x1, y1, z1 = self.extent
        return x1 - x0, y1 - y0, z1 - z0

    def centres(self, device: torch.device | None = None) -> Tensor:
        """(cells, 2) float32: x and y of each cell's centre, as shares of the extent."""
        y, x = (torch.arange(0.5, side, device=device) / side for side in (self.height, self.width))
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        return torch.stack([columns, rows], dim=-1).reshape(-1, 2)

    def shares(self, device: torch.device | None = None) -> Tensor:
        """(cells, pillars, 3) float32: the points of all pillars, as shares of the extent."""
        high = self.sides[2]
        z = torch.linspace(_MARGIN, high - _MARGIN, self.pillars, device=device) / high
        flat = self.centres(device)[:, None].expand(-1, self.pillars, -1)
        return torch.cat([flat, z[:, None].expand(self.cells, -1, -1)], dim=-1)

    def points(self, device: torch.device | None = None) -> Tensor:
        """(cells, pillars, 3) float32: the same in metres."""
        return self.metres(self.shares(device))

    def metres(self, shares: Tensor) -> Tensor:
        """Places (..., 3), or (..., 2), in metres from shares of the extent."""
        count = shares.shape[-1]
        return shares * shares.new_tensor(self.sides[:count]) + shares.new_tensor(self.extent[:count])

    def shares_of(self, metres: Tensor) -> Tensor:
        """Places (..., 3), or (..., 2), as shares of the extent from metres."""
        count = metres.shape[-1]
        return (metres - metres.new_tensor(self.extent[:count])) / metres.new_tensor(self.sides[:count])
