"""Which boxes of single pictures are kept, alone and among those of all cameras, and where they stand on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from internimage.driving.bev.grid import BEVGrid
from internimage.driving.geometry.library import geometry_library
from internimage.driving.perspective.decoding import TOP, CameraBoxes, cell_places, chosen_boxes, stacked
from internimage.driving.perspective.head import PerspectiveMaps, cell_rows
from internimage.driving.perspective.settings import PerspectiveConfig
from internimage.layers.boxes import nms


@dataclass(frozen=True)
class ViewBoxes:
    """Boxes found in one picture, those of the highest ``scores_3d`` first.

    Attributes:
        boxes: (B, 4) xyxy in pixels of the picture.
        scores: (B,) chance of the class and of being in the middle of an object, the root of their product.
        scores_3d: (B,) the same times the confidence in the box in space.
        labels: (B,) int64.
        attributes: (B,) int64, see :data:`internimage.driving.perspective.targets.ATTRIBUTES`.
        speeds: (B,) metres a second.
        levels: (B,) int64, of the cells that they come from.
        places: (B, 2) x and y in pixels of these.
        space: the boxes in space.
    """

    boxes: Tensor
    scores: Tensor
    scores_3d: Tensor
    labels: Tensor
    attributes: Tensor
    speeds: Tensor
    levels: Tensor
    places: Tensor
    space: CameraBoxes

    def __len__(self) -> int:
        return len(self.scores)

    def chosen(self, which: Tensor) -> ViewBoxes:
        """Some of them, by a mask or by their numbers."""
        columns = {one.name: getattr(self, one.name)[which] for one in fields(self) if one.name != "space"}
        return ViewBoxes(**columns, space=self.space.chosen(which))


@torch.no_grad()
def view_boxes(maps: Sequence[PerspectiveMaps], from_pixels: Tensor, config: PerspectiveConfig) -> list[ViewBoxes]:
    """The boxes of each picture.

    Args:
        maps: of M pictures.
        from_pixels: (M, 3, 3) of each picture's camera, see :class:`CameraBoxes`.
        config: of the head.
    """
    return [
        _best([_of_picture(one, picture) for one in maps], matrix, config) for picture, matrix in enumerate(from_pixels)
    ]


@torch.no_grad()
def seen_from_above(views: Sequence[ViewBoxes], to_ground: Tensor, overlap: float) -> tuple[Tensor, Tensor]:
    """NMS among the boxes of several cameras: of a class, by what their upper faces cover, those of high scores first.

    Args:
        views: of K cameras.
        to_ground: (K, 4, 4) camera to a frame whose z axis points up, such as lidar.
        overlap: largest of two boxes of a class.

    Returns:
        (B,) int64 numbers among all boxes of all cameras one after the other, best first, and (all, 3) float64, where
        their centres are in that frame, in metres.
    """
    scores, labels = (torch.cat([getattr(one, name) for one in views]) for name in ("scores_3d", "labels"))
    centres, faces = [], []
    for one, matrix in zip(views, to_ground.double(), strict=True):
        points = torch.cat([one.space.corners()[:, TOP], one.space.positions()[:, None]], dim=1).double()
        moved = points @ matrix[:3, :3].T + matrix[:3, 3]
        centres.append(moved[:, -1])
        faces.append(moved[:, :-1, :2])
    order = scores.argsort(descending=True, stable=True).cpu()
    order = order[torch.cat(faces).cpu()[order].isfinite().all((1, 2))]
    outlines, classes = torch.cat(faces).cpu()[order].numpy(), labels.cpu()[order].numpy()
    kept = order[torch.from_numpy(_apart(outlines, classes, overlap))]
    return kept.to(scores.device), torch.cat(centres)


def proposals(
    views: Sequence[ViewBoxes], to_lidar: Tensor, grid: BEVGrid, overlap: float, ground: Tensor | None = None
) -> Tensor:
    """Where in a grid the boxes of all cameras of a frame stand: (B, 3) float32 shares of its extent, best first.

    Args:
        views: of K cameras.
        to_lidar: (K, 4, 4) camera to the frame of the grid.
        grid: the grid; what lies outside of it is left out.
        overlap: see :func:`seen_from_above`.
        ground: (3, 3) places to where the ground was moved; None for where they are.
    """
    kept, centres = seen_from_above(views, to_lidar, overlap)
    places = centres[kept] if ground is None else centres[kept] @ ground.double().T
    shares = grid.shares_of(places.float())
    return shares[((shares > 0) & (shares < 1)).all(-1)]


def _of_picture(maps: PerspectiveMaps, picture: int) -> PerspectiveMaps:
    return PerspectiveMaps(*(getattr(maps, one.name)[picture : picture + 1] for one in fields(PerspectiveMaps)))


def _best(maps: Sequence[PerspectiveMaps], from_pixels: Tensor, config: PerspectiveConfig) -> ViewBoxes:
    """Of one picture: the best pairs of a cell and a class of each level, then NMS, then the best of all."""
    selection, device = config.detections, from_pixels.device
    found = []
    for level, (one, stride) in enumerate(zip(maps, config.strides, strict=True)):
        rows = cell_rows([one])
        chances = rows.logits.sigmoid() * rows.centrality.sigmoid()
        pairs = (chances.flatten() > selection.score_threshold).nonzero().flatten()
        best, order = chances.flatten()[pairs].topk(min(selection.candidates, len(pairs)))
        cells, labels = pairs[order] // chances.shape[1], pairs[order] % chances.shape[1]
        places = cell_places((one.logits.shape[2], one.logits.shape[3]), stride, device)[cells]
        cameras = from_pixels.expand(len(cells), -1, -1)
        boxes = torch.cat([places, places], dim=-1) + rows.sides[cells] * best.new_tensor([-1.0, -1.0, 1.0, 1.0])
        scores = best.sqrt()
        found.append(
            ViewBoxes(
                boxes,
                scores,
                scores * rows.confidences[cells, labels].sigmoid(),
                labels,
                rows.attributes[cells].argmax(-1),
                rows.speeds[cells, 0],
                torch.full_like(labels, level),
                places,
                chosen_boxes(rows, cells, labels, places, cameras, config),
            )
        )
    whole = _stacked(found)
    kept = whole.chosen(nms(whole.boxes, whole.scores_3d, whole.labels, selection.overlap))
    best = kept.scores.topk(min(selection.keep, len(kept))).indices
    return kept.chosen(best.sort().values)


def _stacked(parts: Sequence[ViewBoxes]) -> ViewBoxes:
    names = [one.name for one in fields(ViewBoxes) if one.name != "space"]
    columns = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return ViewBoxes(**columns, space=stacked([part.space for part in parts]))


def _apart(outlines: np.ndarray, classes: np.ndarray, overlap: float) -> np.ndarray:
    """Places of polygons (B, 4, 2) that no kept one of their class, before them, covers by more than ``overlap``."""
    shapely = geometry_library()
    polygons = shapely.convex_hull(shapely.multipoints(outlines))
    areas = shapely.area(polygons)
    tree = shapely.STRtree(polygons)
    one, other = tree.query(polygons, predicate="intersects")
    pairs = (one < other) & (classes[one] == classes[other])
    one, other = one[pairs], other[pairs]
    common = shapely.area(shapely.intersection(polygons[one], polygons[other]))
    close = common > overlap * np.maximum(areas[one] + areas[other] - common, 1e-12)
    beaten = np.zeros(len(polygons), bool)
    for better in np.unique(one[close]):
        if not beaten[better]:
            beaten[other[close & (one == better)]] = True
    return np.flatnonzero(~beaten)
