"""What was seen before, turned as the vehicle turned."""

from __future__ import annotations

import torch
from torch import Tensor

from internimage.driving.bev.grid import BEVGrid


def turned(history: Tensor, degrees: Tensor, grid: BEVGrid, centre: tuple[float, float] | None = None) -> Tensor:
    """A grid's features, each moved to where the nearest cell lies after the vehicle turned; zeros from outside.

    Args:
        history: (N, cells, C).
        degrees: (N,) that the vehicle turned, counter-clockwise.
        grid: the grid.
        centre: (x, y) about which it turns, in cells from the grid's corner; None for the middle.  The released tiny
            and small models were trained with (100, 100).

    Returns:
        (N, cells, C), a new tensor.
    """
    device = history.device
    x0, y0 = centre or (grid.width / 2, grid.height / 2)
    radians = degrees.to(device, torch.float32).deg2rad()[:, None]
    cosine, sine = radians.cos(), radians.sin()
    share_x, share_y = grid.centres(device).unbind(-1)
    x, y = share_x * grid.width - x0, share_y * grid.height - y0
    column = (x0 + cosine * x - sine * y).floor().long()
    row = (y0 + sine * x + cosine * y).floor().long()
    inside = (column >= 0) & (column < grid.width) & (row >= 0) & (row < grid.height)
    source = torch.where(inside, row * grid.width + column, 0)
    moved = history.gather(1, source[..., None].expand(-1, -1, history.shape[-1]))
    return moved.masked_fill(~inside[..., None], 0.0)
