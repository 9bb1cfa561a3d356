"""Which cell learns which box (Tian et al., FCOS, ICCV 2019, with sampling around centres)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from internimage.driving.perspective.decoding import cell_places
from internimage.driving.perspective.settings import PerspectiveConfig
from internimage.driving.perspective.targets import CameraTargets

_RADIUS = 1.5  # strides from the middle of a box in the picture


@dataclass(frozen=True)
class Assigned:
    """The cells that learn a box.

    Attributes:
        cells: (P,) int64, numbers of rows of :func:`internimage.driving.perspective.head.cell_rows`, ascending.
        boxes: (P,) int64, among the boxes of all pictures together.
        pictures: (P,) int64.
        levels: (P,) int64.
        places: (P, 2) float32 x and y in pixels.
        sides: (P, 4) float32 pixels to left, top, right and bottom of the box in the picture.
        centrality: (P,) float32, 1 in its middle, 0 at its edge.
    """

    cells: Tensor
    boxes: Tensor
    pictures: Tensor
    levels: Tensor
    places: Tensor
    sides: Tensor
    centrality: Tensor


@torch.no_grad()
def assign(targets: Sequence[CameraTargets], shapes: Sequence[tuple[int, int]], config: PerspectiveConfig) -> Assigned:
    """What each cell learns: the smallest box that it lies near the middle of and that is of its level's size.

    Args:
        targets: of M pictures.
        shapes: (height, width) of each level's map.
        config: of the head.
    """
    device = targets[0].sides.device
    places = [cell_places(shape, stride, device) for shape, stride in zip(shapes, config.strides, strict=True)]
    limits = (-1.0, *config.reaches, 1e8)
    starts = [0]
    for target in targets:
        starts.append(starts[-1] + len(target.labels))
    parts, offset = [], 0
    for level, (points, stride) in enumerate(zip(places, config.strides, strict=True)):
        for picture, target in enumerate(targets):
            cells, boxes, sides = _learnt(points, target.sides, stride, limits[level : level + 2])
            rows = torch.full_like(cells, picture), torch.full_like(cells, level)
            parts.append((cells + offset, boxes + starts[picture], *rows, points[cells], sides))
            offset += len(points)
    cells, boxes, pictures, levels, points, sides = (torch.cat(column) for column in zip(*parts, strict=True))
    return Assigned(cells, boxes, pictures, levels, points, sides, _centrality(sides))


def _learnt(points: Tensor, boxes: Tensor, stride: int, limits: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Of a level's cells at ``points`` (S, 2): which learn a box, (P,), which one, (P,), how far its sides are, (P, 4).

    Args:
        points: x and y.
        boxes: (G, 4) xyxy.
        stride: of the level.
        limits: least and most pixels to the farthest side, both included.
    """
    if not len(boxes):
        none = points.new_zeros(0, dtype=torch.int64)
        return none, none, points.new_zeros(0, 4)
    sides = torch.cat([points[:, None] - boxes[:, :2], boxes[:, 2:] - points[:, None]], dim=-1)
    away = (points[:, None] - (boxes[:, :2] + boxes[:, 2:]) / 2).abs().amax(-1)
    farthest = sides.amax(-1)
    fits = (sides.amin(-1) > 0) & (away < _RADIUS * stride) & (farthest >= limits[0]) & (farthest <= limits[1])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    least, best = torch.where(fits, areas, torch.inf).min(1)
    cells = least.isfinite().nonzero().flatten()
    return cells, best[cells], sides[cells, best[cells]]


def _centrality(sides: Tensor) -> Tensor:
    """(P,) of distances (P, 4): root of the product of shorter over longer of both pairs of opposite sides."""
    left, top, right, bottom = sides.unbind(-1)
    across = torch.minimum(left, right) / torch.maximum(left, right)
    along = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (across * along).sqrt()
