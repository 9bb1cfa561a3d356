"""Which points in space which camera sees, and where."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_NEAREST = 1e-5  # metres in front of a camera


class Sight(NamedTuple):
    """What cameras see of the pillars of a grid, camera by camera: only cells that it sees a point of are listed.

    Attributes:
        cells: (P,) int64, numbers among all cells of all N samples: those that the first sample's first camera sees,
            in ascending order, then those that its second camera sees.
        places: (P, D, 2) float32, where that camera sees each of a cell's points, as shares of the picture's width and
            height; points that it does not see lie outside of it.
        counts: how many cells each of the N * K cameras sees; they add up to P.
        cameras: (N * cells,) float32, how many cameras see a cell, 1 for none.
    """

    cells: Tensor
    places: Tensor
    counts: list[int]
    cameras: Tensor


def project(points: Tensor, lidar_to_pixels: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Points in pictures.  Products are summed one by one in float32, whatever a device may do to matrices.

    Args:
        points: (..., 3) float32, metres.
        lidar_to_pixels: (N, K, 4, 4) float32, to (u d, v d, d, 1).
        size: (height, width) of the pictures in pixels, padding included.

    Returns:
        (N, K, ..., 2) float32, shares of the picture's width and height, and (N, K, ...) bool, whether the point lies
        in front of the camera and inside the picture, borders left out.
    """
    rows = lidar_to_pixels.float()[(..., *(None,) * (points.dim() - 1))].movedim((2, 3), (0, 1))
    x, y, z = points.float().unbind(-1)
    u, v, depth = (row[0] * x + row[1] * y + row[2] * z + row[3] for row in rows[:3])
    far = depth.clamp(min=_NEAREST)
    u, v = u / far / size[1], v / far / size[0]
    seen = (depth > _NEAREST) & (u > 0) & (u < 1) & (v > 0) & (v < 1)
    return torch.stack([u, v], dim=-1), seen


@torch.no_grad()
def look(points: Tensor, lidar_to_pixels: Tensor, present: Tensor, size: tuple[int, int]) -> Sight:
    """What cameras see of a grid.

    Args:
        points: (cells, D, 3) float32, metres.
        lidar_to_pixels, size: see :func:`project`.
        present: (N, K) bool, whether there is such a camera.
    """
    places, seen = project(points, lidar_to_pixels, size)
    hits = seen.any(-1) & present[..., None]
    sample, camera, cell = hits.nonzero(as_tuple=True)
    counts: list[int] = hits.sum(-1).flatten().tolist()
    cells = sample * len(points) + cell
    return Sight(cells, places[sample, camera, cell], counts, hits.sum(1).clamp(min=1).float().flatten())
