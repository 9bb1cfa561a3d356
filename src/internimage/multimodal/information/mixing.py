"""Two pictures made one, cell by cell, and where the cells of another view are.

M3I (Su et al., CVPR 2023): two pictures make one input, and a decoder is told where its target is, counted from the top
left corner of the input view.  How big cells are and how they are drawn is this project's choice: a cell is a token of
the last map.
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw_cells(rows: int, columns: int) -> Tensor:
    """Which cells are the first picture's, each with probability 1/2 and at least one of each: (rows, columns) bool.

    From PyTorch's generator.
    """
    cells = torch.rand(rows, columns) < 0.5
    if cells.all() or not cells.any():
        place = int(torch.randint(cells.numel(), ()))
        cells.view(-1)[place] = ~cells.view(-1)[place]
    return cells


def mix(first: Tensor, second: Tensor, cells: Tensor, side: int) -> Tensor:
    """Pictures (N, C, H, W) whose cells of ``side`` pixels are the first ones' where ``cells`` (N, H/side, W/side)."""
    pixels = cells.bool().repeat_interleave(side, 1).repeat_interleave(side, 2)
    return torch.where(pixels[:, None], first, second)


def tokens_of(maps: Tensor) -> Tensor:
    """A map (N, C, h, w) as tokens (N, h * w, C), row by row."""
    return maps.flatten(2).transpose(1, 2)


def visible_mean(tokens: Tensor, visible: Tensor) -> Tensor:
    """The mean of the tokens (N, L, C) where ``visible`` (N, L), at least one each: (N, C)."""
    weight = visible.to(tokens.dtype)[..., None]
    return (tokens * weight).sum(1) / weight.sum(1)


def grid_places(rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """Row and column of each cell of the input view, the middle of its first cell at 0: (rows * columns, 2) float32."""
    axes = [torch.arange(side, dtype=torch.float32, device=device) for side in (rows, columns)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)


def other_places(placement: Tensor, rows: int, columns: int) -> Tensor:
    """Where cells of another view are in the input view, in its cells and counted from the middle of its first one.

    Args:
        placement: (N, 4): row and column of the other view's corner where its first row and column begin, and the
            height and width of one of its cells, negative where it runs the other way; all in cells of the input view,
            from that view's corner.
        rows, columns: of the other view.

    Returns:
        (N, rows * columns, 2) float32, row by row.
    """
    middles = grid_places(rows, columns, placement.device) + 0.5
    return placement[:, None, :2] + middles * placement[:, None, 2:] - 0.5
