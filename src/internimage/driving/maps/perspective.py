"""From maps of several cameras to features of a grid: planes at fixed heights are looked up in the pictures.

Inverse perspective mapping as in Liu et al., VectorMapNet, ICML 2023, https://arxiv.org/abs/2206.08920, section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import Views
from internimage.driving.bev.projection import project
from internimage.errors import ConfigError
from internimage.ops import conv2d


class PerspectiveMapping(nn.Module):
    """Maps of any number of cameras to a grid's features.  Nothing but the last convolution is learnt.

    Args:
        grid: the cells, in the vehicle's frame.
        heights: of the planes, metres in that frame.
        channels: C of maps and cells.
    """

    layers: tuple[nn.Module, ...] = ()

    def __init__(self, grid: BEVGrid, heights: Sequence[float], channels: int) -> None:
        super().__init__()
        if not heights:
            raise ConfigError("no heights; expected one plane or more on which cells are looked up in the pictures")
        self.grid, self.heights = grid, tuple(heights)
        self.convolution = nn.Conv2d((channels + 3) * len(heights), channels, 3, padding=1)

    def forward(self, maps: Sequence[Tensor], views: Views, history: Tensor | None = None) -> Tensor:
        """Features (N, cells, C).

        Args:
            maps: (N * K, C, H_i, W_i) of each level, fine to coarse, of ``views.images``.
            views: where the cameras are.
            history: nothing is remembered.
        """
        planes = self.seen(maps, views)
        coordinates = self.coordinates(planes.device).to(planes.dtype).expand(len(planes), -1, -1, -1)
        stacked = torch.cat([planes, coordinates], dim=1).transpose(1, 2).flatten(1, 2)
        cells = conv2d(self.convolution, stacked.unflatten(-1, (self.grid.height, self.grid.width)))
        return cells.flatten(2).transpose(1, 2)

    def points(self, device: torch.device | None = None) -> Tensor:
        """(planes, cells, 3) float32, metres: the middle of each cell at each height."""
        flat = self.grid.metres(self.grid.centres(device)).expand(len(self.heights), -1, -1)
        height = torch.tensor(self.heights, device=device)[:, None, None].expand(-1, self.grid.cells, 1)
        return torch.cat([flat, height], dim=-1)

    def coordinates(self, device: torch.device | None = None) -> Tensor:
        """(3, planes, cells): x and y from -1 to 1 over the grid, the height in metres."""
        flat = (2 * self.grid.centres(device) - 1).expand(len(self.heights), -1, -1)
        return torch.cat([flat, self.points(device)[..., 2:]], dim=-1).movedim(-1, 0)

    def seen(self, maps: Sequence[Tensor], views: Views) -> Tensor:
        """(N, C, planes, cells) means over the cameras that see a point of the sum of all levels there; 0 for none."""
        finest = maps[0]
        for coarser in maps[1:]:
            finest = finest + F.interpolate(coarser, finest.shape[2:], mode="bilinear", align_corners=False)
        cameras = views.images.shape[1]
        by_camera = finest.unflatten(0, (-1, cameras)).float()
        size = (views.images.shape[-2], views.images.shape[-1])
        places, inside = project(self.points(finest.device), views.lidar_to_pixels, size)
        inside = inside & views.present[..., None, None]
        places = torch.where(inside[..., None], 2 * places - 1, 0.0)
        total, count = by_camera.new_zeros(()), inside.sum(1)[:, None]
        for camera in range(cameras):  # one after the other: all of them at once would fill the memory
            found = F.grid_sample(by_camera[:, camera], places[:, camera], padding_mode="border", align_corners=False)
            total = total + found * inside[:, camera, None]
        return (total / count.clamp(min=1)).to(finest.dtype)
