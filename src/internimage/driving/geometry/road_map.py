"""A road map in the frame of the world, and the lines of it that lie around a vehicle.

Everything is seen from above: heights are left out, and of the vehicle's pose its place and heading count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from internimage.driving.geometry.library import geometry_library
from internimage.driving.geometry.poses import Array, Pose
from internimage.driving.geometry.vector_map import REGION, VectorMap

SHORTEST = 0.5
"""Metres of a line, or square metres of a crossing, that are worth keeping of what is cut."""

_SEAM = 0.05  # metres, half of the gap between two areas that is none
_GRID = 1e-4  # metres, of places where a union of exact ones fails
_FLAT = 1e-3  # metres from a straight line at which a point is left out


@dataclass(frozen=True, eq=False)
class RoadMap:
    """Lines of a town or of one drive, (P, 2) metres each, in the frame of the world.

    Attributes:
        crossings: outlines of pedestrian crossings, whose last point is the first.
        dividers: lines between lanes.
        boundaries: where the road ends; closed ones end where they began.
    """

    crossings: Sequence[Array]
    dividers: Sequence[Array]
    boundaries: Sequence[Array]

    @cached_property
    def _extents(self) -> tuple[Array, ...]:
        """Of each class (N, 4) least and greatest x and y of its lines."""
        return tuple(
            np.array([np.concatenate([line.min(0), line.max(0)]) for line in lines]).reshape(-1, 4)
            for lines in (self.crossings, self.dividers, self.boundaries)
        )

    def around(self, ego: Pose, region: tuple[float, float] = REGION) -> VectorMap:
        """What lies around a vehicle.

        Crossings are cut as areas, so that they stay closed along the region's edge; the others as lines.  Pieces of
        less than ``SHORTEST`` are left out.

        Args:
            ego: ego to world.
            region: metres along and across, the vehicle in the middle.

        Raises:
            MissingExtraError: shapely is not installed.
        """
        shapely = geometry_library()
        half = np.array(region) / 2
        window, reach = shapely.box(*-half, *half), float(np.hypot(*half))
        place, (c, s) = ego.translation[:2], (np.cos(ego.yaw), np.sin(ego.yaw))
        turn = np.array([[c, -s], [s, c]])  # the rows of (points - place) @ turn are in the vehicle's frame
        found = []
        for lines, extents in zip((self.crossings, self.dividers, self.boundaries), self._extents, strict=True):
            near = (extents[:, :2] <= place + reach).all(1) & (extents[:, 2:] >= place - reach).all(1)
            found.append([(lines[number] - place) @ turn for number in np.flatnonzero(near).tolist()])
        areas = [shapely.intersection(area, window) for line in found[0] for area in _areas(shapely, line)]
        return VectorMap.true(
            [
                [piece for area in areas for piece in outlines(shapely, area, least=SHORTEST)],
                *([piece for line in own for piece in _inside(shapely, line, window)] for own in found[1:]),
            ]
        )


def outlines(shapely: Any, shape: Any, *, holes: bool = False, least: float = 0.0) -> list[Array]:
    """Closed lines around every area of a shape that is larger than ``least`` square metres, and around its holes."""
    lines = []
    for area in shapely.get_parts(shape):
        if area.geom_type == "Polygon" and area.area > least:
            rings = [area.exterior, *(area.interiors if holes else ())]
            lines += [np.array(ring.coords)[:, :2] for ring in rings]
    return lines


def merged(shapely: Any, lines: Sequence[Array]) -> list[Array]:
    """Lines put together where two and no more of them meet at their ends; equal ones, whatever their direction, once.

    Ends meet if they are equal to a micrometre.
    """
    shapes = [shapely.LineString(np.asarray(line)[:, :2]) for line in lines if len(line) > 1]
    rounded = shapely.set_precision([shape for shape in shapes if shape.length > 0], 1e-6, mode="pointwise")
    once = {shapely.normalize(shape).wkb: shape for shape in rounded}
    whole = shapely.line_merge(shapely.MultiLineString(list(once.values())))
    return [np.array(line.coords) for line in shapely.get_parts(whole)]


def union(shapely: Any, areas: Sequence[tuple[Array, Sequence[Array]]]) -> Any:
    """One shape of all areas, each an outline and the outlines of its holes.

    Areas that cross themselves are mended; gaps of less than a decimetre between neighbours are closed, because they
    would make a boundary in the middle of the road.
    """
    shapes = [
        shapely.Polygon(outline, [hole for hole in holes if len(hole) > 2])
        for outline, holes in areas
        if len(outline) > 2
    ]
    valid = shapely.make_valid(shapes)
    try:
        whole = shapely.union_all(valid)
    except shapely.errors.GEOSException:  # lines that all but touch; on a grid it cannot fail
        whole = shapely.union_all(valid, grid_size=_GRID)
    wider = shapely.buffer(whole, _SEAM, join_style="mitre")
    return shapely.simplify(shapely.buffer(wider, -_SEAM, join_style="mitre"), _FLAT)


def _areas(shapely: Any, outline: Array) -> list[Any]:
    whole = shapely.make_valid(shapely.Polygon(outline))
    return [part for part in shapely.get_parts(whole) if part.geom_type == "Polygon"]


def _inside(shapely: Any, line: Array, window: Any) -> list[Array]:
    """The parts of a line in a window; what a closed one has on both sides of its first point is one part."""
    cut = shapely.intersection(shapely.LineString(line), window)
    pieces = [part for part in shapely.get_parts(cut) if part.geom_type == "LineString"]
    if len(pieces) > 1:
        pieces = list(shapely.get_parts(shapely.line_merge(shapely.MultiLineString(pieces))))
    return [np.array(piece.coords) for piece in pieces if piece.length >= SHORTEST]
