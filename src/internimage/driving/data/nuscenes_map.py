"""nuScenes's map expansion: ``maps/expansion/LOCATION.json``, in the global frame of the place that a log names.

Caesar et al., nuScenes, CVPR 2020, https://arxiv.org/abs/1903.11027; the layers of version 1.3 of the expansion.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from internimage.data.formats.documents import read_json
from internimage.driving.geometry.library import geometry_library
from internimage.driving.geometry.poses import Array
from internimage.driving.geometry.road_map import RoadMap, merged, outlines, union
from internimage.errors import DataError

EXPANSION = "maps/expansion"
"""Below the root of nuScenes'."""

_MOST = 2**29  # bytes of a map


class _Node(msgspec.Struct):
    token: str
    x: float
    y: float


class _Line(msgspec.Struct):
    token: str
    node_tokens: list[str]


class _Hole(msgspec.Struct):
    node_tokens: list[str]


class _Polygon(msgspec.Struct):
    token: str
    exterior_node_tokens: list[str]
    holes: list[_Hole] = []


class _OfPolygon(msgspec.Struct):
    token: str
    polygon_token: str


class _OfLine(msgspec.Struct):
    token: str
    line_token: str


class _Expansion(msgspec.Struct):
    node: list[_Node]
    line: list[_Line]
    polygon: list[_Polygon]
    road_segment: list[_OfPolygon]
    lane: list[_OfPolygon]
    ped_crossing: list[_OfPolygon]
    road_divider: list[_OfLine]
    lane_divider: list[_OfLine]


def map_file(root: Path, location: str) -> Path:
    """Of the place that ``location`` of a record in ``log.json`` names."""
    return root / EXPANSION / f"{location}.json"


def read_nuscenes_map(file: Path) -> RoadMap:
    """The map of a place.

    Boundaries are the outlines of all road segments and lanes together, holes too; dividers the lines between roads and
    lanes, put together; crossings the outlines of all pedestrian crossings together.

    Raises:
        DataError: it is no such file, or a record names another one that is not there.
        MissingExtraError: shapely is not installed.
    """
    shapely = geometry_library()
    try:
        expansion = msgspec.convert(read_json(file, largest=_MOST), _Expansion)
    except msgspec.ValidationError as error:
        raise DataError(f"{file} is no map expansion of nuScenes: {error}") from error
    parts = _Parts(file, expansion)
    road = union(shapely, parts.areas("road_segment", expansion.road_segment) + parts.areas("lane", expansion.lane))
    crossings = union(shapely, parts.areas("ped_crossing", expansion.ped_crossing))
    lines = parts.lines("road_divider", expansion.road_divider) + parts.lines("lane_divider", expansion.lane_divider)
    return RoadMap(outlines(shapely, crossings), merged(shapely, lines), outlines(shapely, road, holes=True))


class _Parts:
    """What the layers of a map are made of, by token."""

    def __init__(self, file: Path, expansion: _Expansion) -> None:
        self._file = file
        self._rows = {node.token: row for row, node in enumerate(expansion.node)}
        self._places = np.array([(node.x, node.y) for node in expansion.node], np.float64).reshape(-1, 2)
        if not np.isfinite(self._places).all():
            raise DataError(f"{file}: node has places that are not finite")
        self._lines = {one.token: one for one in expansion.line}
        self._polygons = {one.token: one for one in expansion.polygon}

    def lines(self, layer: str, records: Sequence[_OfLine]) -> list[Array]:
        """(P, 2) of each record; those of one point are left out, nuScenes has some."""
        found = []
        for record in records:
            line = self._lines.get(record.line_token)
            if line is None:
                raise DataError(f"{self._file}: {layer} {record.token!r}: line_token is no record of line")
            found.append(self._nodes(f"line {line.token!r}: node_tokens", line.node_tokens))
        return [line for line in found if len(line) > 1]

    def areas(self, layer: str, records: Sequence[_OfPolygon]) -> list[tuple[Array, list[Array]]]:
        """Outline (P, 2) and holes of each record."""
        found = []
        for record in records:
            polygon = self._polygons.get(record.polygon_token)
            if polygon is None:
                raise DataError(f"{self._file}: {layer} {record.token!r}: polygon_token is no record of polygon")
            where = f"polygon {polygon.token!r}"
            holes = [self._nodes(f"{where}: holes", hole.node_tokens) for hole in polygon.holes]
            found.append((self._nodes(f"{where}: exterior_node_tokens", polygon.exterior_node_tokens), holes))
        return found

    def _nodes(self, where: str, tokens: Sequence[str]) -> Array:
        try:
            return self._places[[self._rows[token] for token in tokens]].reshape(-1, 2)
        except KeyError as error:
            raise DataError(f"{self._file}: {where} has {error.args[0]!r}, which is no record of node") from error
