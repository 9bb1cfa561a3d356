"""Maps of the drawn world: the lines around the vehicle, and a scene's road as nuScenes's map expansion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from internimage.driving.geometry.poses import Array
from internimage.driving.geometry.road_map import SHORTEST, RoadMap
from internimage.driving.geometry.vector_map import REGION, VectorMap, is_closed
from internimage.driving.world.roads import ASPHALT, CROSSING_HALF, LANE, Road
from internimage.driving.world.scene import Scene
from internimage.driving.world.tables import Record, scene_name, token

_VERSION = "1.3"
_BESIDE = 0.1  # metres from an edge at which the ground is looked at
_EMPTY = ("drivable_area", "road_block", "walkway", "stop_line", "carpark_area", "traffic_light", "lane_connector")


def road_map_of(road: Road) -> RoadMap:
    """What there is of a road, in its frame.

    Dividers are the edges of lanes outside of the crossing that have asphalt on both sides: the middle of the road,
    lines between lanes, and those between lanes and places to park.  A boundary goes along the kerb from one end of the
    world to the other, around the corner where there is a road across.
    """
    zebra, kerb = road.zebra, road.kerb
    ends = np.array([point[:2] for lane in road.lanes for point in lane.curve])
    (near, right), (far, left) = ends.min(0), ends.max(0)
    crossings = []
    if road.crossing is None or zebra is None:
        boundaries = [np.array([(near, y), (far, y)]) for y in (-kerb, kerb)]
    else:
        crossings.append(np.array(rectangle(*zebra, -kerb, kerb)))
        boundaries = [
            np.array([(x, side * kerb), (corner, side * kerb), (corner, away)])
            for x, corner in ((near, road.crossing - CROSSING_HALF), (far, road.crossing + CROSSING_HALF))
            for side, away in ((-1, right), (1, left))
        ]
    return RoadMap(crossings, _dividers(road), boundaries)


def vector_map_of(scene: Scene, time: float, region: tuple[float, float] = REGION) -> VectorMap:
    """The lines around the vehicle at a time in seconds, cut as :meth:`RoadMap.around` says, in plain NumPy."""
    ego, half = scene.ego.pose(time), np.array(region) / 2
    whole = road_map_of(scene.road)

    def seen(lines: Iterable[Array]) -> list[Array]:
        return [ego.inverse(np.pad(line, ((0, 0), (0, 1))))[:, :2] for line in lines]

    areas = [_area_inside(ring, half) for ring in seen(whole.crossings)]
    return VectorMap.true(
        [
            [area for area in areas if _area(area) > SHORTEST],
            *(
                [piece for line in seen(lines) for piece in _parts_inside(line, half)]
                for lines in (whole.dividers, whole.boundaries)
            ),
        ]
    )


def expansion_of(scene: Scene) -> Record:
    """The content of ``maps/expansion/LOCATION.json`` for a scene's road, in the global frame.

    As in nuScenes a road is segments and lanes that touch each other, and a line is told in several pieces.  The layers
    that no map of a frame needs are there and empty, so that nuScenes's own devkit reads the file, too.
    """
    records = _Records(scene)
    whole = road_map_of(scene.road)
    for corners, crosses in _segments(scene.road):
        records.area("road_segment", corners, is_intersection=crosses, drivable_area_token="")
    for lane in scene.road.lanes:
        (x0, y0), (x1, y1) = lane.curve[[0, -1], :2]
        if x0 == x1 or y0 == y1:
            wide = LANE / 2
            sides = ((x0, x1), (y0 - wide, y0 + wide)) if y0 == y1 else ((x0 - wide, x0 + wide), (y0, y1))
            corners = rectangle(min(sides[0]), max(sides[0]), min(sides[1]), max(sides[1]))
            edges: Record = {f"{side}_lane_divider_segments": [] for side in ("left", "right")}
            records.area("lane", corners, lane_type="CAR", from_edge_line_token="", to_edge_line_token="", **edges)
    for ring in whole.crossings:
        records.area("ped_crossing", ring, road_segment_token="")
    for line in whole.dividers:
        middle = (line[:1] + line[-1:]) / 2
        for piece in (np.concatenate([line[:1], middle]), np.concatenate([line[-1:], middle])):
            records.line("lane_divider" if np.ptp(line[:, 1]) == 0 and line[0, 1] else "road_divider", piece)
    empty: Record = {layer: [] for layer in _EMPTY}
    reach = [float(max(node[axis] for node in records.rows["node"])) for axis in "xy"]
    others: Record = {"canvas_edge": reach, "arcline_path_3": {}, "connectivity": {}}
    return {"version": _VERSION, **others, **empty, **records.rows}


@dataclass
class _Records:
    """The records of a map while they grow."""

    scene: Scene
    rows: dict[str, list[Record]] = field(
        default_factory=lambda: {
            name: []
            for name in (
                *("node", "line", "polygon", "road_segment", "lane", "ped_crossing"),
                *("road_divider", "lane_divider"),
            )
        }
    )

    def area(self, layer: str, corners: Sequence[Sequence[float]] | Array, **others: object) -> None:
        """A record with its polygon."""
        polygon = self._token("polygon")
        nodes = self._nodes(np.asarray(corners)[:-1])
        self.rows["polygon"].append({"token": polygon, "exterior_node_tokens": nodes, "holes": []})
        self.rows[layer].append({"token": self._token(layer), "polygon_token": polygon, **others})

    def line(self, layer: str, points: Array) -> None:
        """A record with its line."""
        line = self._token("line")
        self.rows["line"].append({"token": line, "node_tokens": self._nodes(points)})
        self.rows[layer].append({"token": self._token(layer), "line_token": line})

    def _nodes(self, points: Array) -> list[str]:
        tokens = []
        for x, y, _ in self.scene.to_global(np.pad(points, ((0, 0), (0, 1)))).tolist():
            tokens.append(self._token("node"))
            self.rows["node"].append({"token": tokens[-1], "x": x, "y": y})
        return tokens

    def _token(self, layer: str) -> str:
        return token(scene_name(self.scene.seed), "map", layer, len(self.rows[layer]))


def rectangle(x0: float, x1: float, y0: float, y1: float) -> list[tuple[float, float]]:
    """The closed outline of a rectangle, counter-clockwise."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]


def _segments(road: Road) -> list[tuple[list[tuple[float, float]], bool]]:
    """Outlines of the pieces of the road, and whether roads cross in it."""
    kerb, lanes = road.kerb, road.lanes
    ends = np.array([point[:2] for lane in lanes for point in lane.curve])
    (near, right), (far, left) = ends.min(0), ends.max(0)
    if road.crossing is None:
        return [(rectangle(near, far, -kerb, kerb), False)]
    before, behind = lanes[0].curve[-1, 0], lanes[2].curve[0, 0]
    x0, x1 = road.crossing - CROSSING_HALF, road.crossing + CROSSING_HALF
    arms = (
        *((near, before, -kerb, kerb), (behind, far, -kerb, kerb)),
        *((x0, x1, right, -kerb), (x0, x1, kerb, left)),
    )
    return [(rectangle(before, behind, -kerb, kerb), True), *((rectangle(*arm), False) for arm in arms)]


def _dividers(road: Road) -> list[Array]:
    lines: dict[bytes, Array] = {}
    for lane in road.lanes:
        if lane.inside:
            continue
        start, end = lane.curve[0, :2], lane.curve[-1, :2]
        along = (end - start) / np.linalg.norm(end - start)
        aside = np.array([-along[1], along[0]])
        for way in (LANE / 2, -LANE / 2):
            edge = np.stack([start, end]) + way * aside
            sides = edge.mean(0) + np.outer((_BESIDE, -_BESIDE), aside)
            if (road.surface(*sides.T) == ASPHALT).all():
                lines[(np.sort(edge, axis=0).round(6) + 0.0).tobytes()] = edge  # lanes side by side share it
    return list(lines.values())


def _parts_inside(line: Array, half: Array) -> list[Array]:
    """The parts of a line whose |x| and |y| are at most ``half`` (Liang and Barsky, 1984, piece by piece)."""
    parts: list[list[Array]] = []
    for start, end in pairwise(list(line)):
        step = end - start
        with np.errstate(divide="ignore", invalid="ignore"):
            bounds = np.stack([(-half - start) / step, (half - start) / step])
        flat = step == 0
        if (flat & (np.abs(start) > half)).any():
            continue
        first = max(0.0, bounds.min(0)[~flat].max(initial=0.0))
        last = min(1.0, bounds.max(0)[~flat].min(initial=1.0))
        if first < last:
            if not (parts and first == 0 and parts[-1][-1] is start):
                parts.append([start + first * step])
            parts[-1].append(end if last == 1 else start + last * step)
    lines = [np.array(part) for part in parts]
    return [one for one in lines if np.linalg.norm(np.diff(one, axis=0), axis=1).sum() >= SHORTEST]


def _area_inside(ring: Array, half: Array) -> Array:
    """The closed outline of what a convex area shares with |x|, |y| <= ``half`` (Sutherland and Hodgman, 1974)."""
    for axis in (0, 1):
        for side in (-1, 1):
            beyond = side * ring[:, axis] - half[axis]
            kept = []
            for number, (start, end) in enumerate(pairwise(ring)):
                if beyond[number] <= 0:
                    kept.append(start)
                if beyond[number] * beyond[number + 1] < 0:
                    kept.append(start + (end - start) * beyond[number] / (beyond[number] - beyond[number + 1]))
            ring = np.array([*kept, *kept[:1]]).reshape(-1, 2)
    return ring


def _area(ring: Array) -> float:
    """Of a closed outline, square metres."""
    if not is_closed(ring):
        return 0.0
    (x0, y0), (x1, y1) = ring[:-1].T, ring[1:].T
    return abs(float((x0 * y1 - x1 * y0).sum())) / 2
