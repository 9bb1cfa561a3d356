"""Maps and grids of a network whose pictures were mirrored, or whose ground was turned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.driving.augmentation.ground import ground_matrix
from internimage.driving.augmentation.settings import Shown
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import Variations


def variations(shown: Sequence[Shown]) -> Variations:
    """How N frames are shown, as a network is told."""
    ground = np.stack([ground_matrix(one.ground) for one in shown])
    return Variations(torch.tensor([one.mirrored for one in shown]), torch.from_numpy(ground).float())


def mirrored(maps: Tensor, which: Tensor) -> Tensor:
    """Maps (M, C, H, W), or pictures, mirrored left to right where ``which`` (M,) bool says so.

    Pictures are mirrored with their padding and maps as wholes, so a map that is mirrored back lies where that of the
    plain picture does.  The released code pads mirrored pictures, whose maps come back shifted by the padding.
    """
    return torch.where(which[:, None, None, None], maps.flip(-1), maps)


def turned_ground(cells: Tensor, ground: Tensor, grid: BEVGrid) -> Tensor:
    """A grid's features after the ground was turned: each cell has what was where it comes from, zeros from outside.

    Args:
        cells: (N, cells, C).
        ground: (N, 3, 3) places before to places afterwards, see
            :func:`internimage.driving.augmentation.ground.ground_matrix`.
        grid: the grid.

    Returns:
        (N, cells, C), bilinear.
    """
    back = torch.linalg.inv(ground.float())[:, :2, :2]
    places = grid.metres(grid.centres(cells.device))
    sources = grid.shares_of((back[:, None] * places[:, None]).sum(-1))  # float32, whatever autocast may do
    shape = (grid.height, grid.width)
    maps = cells.float().transpose(1, 2).unflatten(-1, shape)
    looked = (2 * sources - 1).unflatten(1, shape)
    return F.grid_sample(maps, looked, align_corners=False).flatten(2).transpose(1, 2).to(cells.dtype)
