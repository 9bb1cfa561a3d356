"""Maps of Argoverse 2: ``map/log_map_archive_*.json`` of a drive, in the frame of its city.

Wilson et al., Argoverse 2, NeurIPS Datasets 2021, https://arxiv.org/abs/2301.00493, section 3.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from internimage.data.formats.documents import read_json
from internimage.driving.geometry.library import geometry_library
from internimage.driving.geometry.poses import Array
from internimage.driving.geometry.road_map import RoadMap, merged, outlines, union
from internimage.errors import DataError

_MOST = 2**28  # bytes of a map
_INSIDE = 0.5  # metres from the end of the road at which a lane's edge is a divider
_SHORTEST = 1.0  # metres of what stays of a lane's edge


class _Point(msgspec.Struct):
    x: float
    y: float


class _Lane(msgspec.Struct):
    left_lane_boundary: list[_Point]
    right_lane_boundary: list[_Point]
    is_intersection: bool = False


class _Crossing(msgspec.Struct):
    edge1: list[_Point]
    edge2: list[_Point]


class _Area(msgspec.Struct):
    area_boundary: list[_Point]


class _Archive(msgspec.Struct):
    lane_segments: dict[str, _Lane]
    pedestrian_crossings: dict[str, _Crossing]
    drivable_areas: dict[str, _Area]


def read_av2_map(file: Path) -> RoadMap:
    """The map of a drive.

    Boundaries are the outlines of all drivable areas together, holes too.  Dividers are edges of lanes, painted or not,
    outside of intersections, as far as they lie half a metre or more inside the drivable area.  A crossing is its first
    edge and its second one back.

    Raises:
        DataError: it is no such file, or a line of it is none.
        MissingExtraError: shapely is not installed.
    """
    shapely = geometry_library()
    try:
        archive = msgspec.convert(read_json(file, largest=_MOST), _Archive)
    except msgspec.ValidationError as error:
        raise DataError(f"{file} is no map of Argoverse 2: {error}") from error
    edges = []
    for name, lane in archive.lane_segments.items():
        if not lane.is_intersection:
            edges.append(_line(file, f"lane_segments, {name}, left_lane_boundary", lane.left_lane_boundary, 2))
            edges.append(_line(file, f"lane_segments, {name}, right_lane_boundary", lane.right_lane_boundary, 2))
    crossings = []
    for name, crossing in archive.pedestrian_crossings.items():
        there = _line(file, f"pedestrian_crossings, {name}, edge1", crossing.edge1, 2)
        back = _line(file, f"pedestrian_crossings, {name}, edge2", crossing.edge2, 2)[::-1]
        crossings.append(np.concatenate([there, back, there[:1]]))
    areas = [
        (_line(file, f"drivable_areas, {name}, area_boundary", area.area_boundary, 3), ())
        for name, area in archive.drivable_areas.items()
    ]
    road = union(shapely, areas)
    inner = shapely.buffer(road, -_INSIDE)
    dividers = [
        np.array(piece.coords)
        for line in merged(shapely, edges)
        for piece in shapely.get_parts(shapely.intersection(shapely.LineString(line), inner))
        if piece.geom_type == "LineString" and piece.length >= _SHORTEST
    ]
    return RoadMap(crossings, dividers, outlines(shapely, road, holes=True))


def _line(file: Path, field: str, points: list[_Point], least: int) -> Array:
    line = np.array([(point.x, point.y) for point in points], np.float64).reshape(-1, 2)
    if len(line) < least or not np.isfinite(line).all():
        raise DataError(f"{file}: {field} has {len(line)} points; expected {least} or more of finite numbers")
    return line
