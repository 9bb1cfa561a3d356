"""Vector maps: what lies around a vehicle, and networks that find it."""

import json
import sys
from dataclasses import asdict, replace
from itertools import permutations
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import shapely
import torch
from helpers.driving import BACKBONE, rig
from torch import Tensor

from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import Views
from internimage.driving.data.av2_map import read_av2_map
from internimage.driving.data.nuscenes_map import map_file, read_nuscenes_map
from internimage.driving.drawing.maps import dashes, draw_map
from internimage.driving.geometry.poses import Array, Pose
from internimage.driving.geometry.road_map import RoadMap
from internimage.driving.geometry.vector_map import CLASSES, VectorMap, is_closed
from internimage.driving.maps.boxes import box_losses, match_boxes
from internimage.driving.maps.canvas import Canvas
from internimage.driving.maps.generator import LineGenerator
from internimage.driving.maps.lines import LineTargets, line_losses, match_lines, orders_of
from internimage.driving.maps.perspective import PerspectiveMapping
from internimage.driving.maps.settings import GeneratorConfig, LineSelection
from internimage.driving.maps.tokens import LineTokens, edge_weights, line_tokens
from internimage.driving.metrics.longitudinal import ious
from internimage.driving.metrics.polylines import VectorMapScore
from internimage.driving.models.online_map import EXTENT, OnlineMap, OnlineMapConfig
from internimage.driving.results.geojson import geojson_of, read_geojson, write_geojson
from internimage.driving.world.maps import expansion_of, vector_map_of
from internimage.driving.world.rig import NUSCENES_RIG
from internimage.driving.world.roads import ASPHALT
from internimage.driving.world.scene import flat_pose, make_scene
from internimage.driving.world.tables import location
from internimage.errors import ConfigError, DataError, MissingExtraError
from internimage.settings.plain import from_plain

CROSSING, DIVIDER, BOUNDARY = range(3)


def lines_of(found: VectorMap, label: int) -> list[Array]:
    return [line for line, own in zip(found.lines, found.labels, strict=True) if own == label]


def same_lines(one: VectorMap, other: VectorMap, within: float) -> None:
    """Each line of one is a line of the other, whatever its direction and where it begins."""
    assert sorted(one.labels.tolist()) == sorted(other.labels.tolist())
    for label in range(3):
        rest = [shapely.LineString(line) for line in lines_of(other, label)]
        for line in lines_of(one, label):
            shape = shapely.LineString(line)
            apart = [shapely.hausdorff_distance(shape, each, densify=0.05) for each in rest]
            assert min(apart) < within
            del rest[int(np.argmin(apart))]


def score(truth: VectorMap, found: VectorMap) -> dict[str, float]:
    scored = VectorMapScore(CLASSES)
    scored.add("a", truth, found)
    return scored.compute()


# The drawn world


def test_the_drawn_world_s_map_file_gives_what_the_road_says(tmp_path: Path) -> None:
    """Read, united, put together and cut with shapely: the same lines as from the road's own numbers.

    The exact union of the last road's areas fails in GEOS.
    """
    seen = np.zeros(3, int)
    for seed in (*range(12), 5136):
        scene = make_scene(seed)
        file = map_file(tmp_path, location(seed))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(expansion_of(scene)))
        whole = read_nuscenes_map(file)
        for time in (0.0, 3.5):
            truth = vector_map_of(scene, time).checked("drawn", len(CLASSES))
            same_lines(truth, whole.around(scene.to_global @ scene.ego.pose(time)), 2e-3)
            assert score(truth, truth)["map"] == 1
            seen += np.bincount(truth.labels, minlength=3)
    assert (seen > 10).all()


@pytest.mark.official
@pytest.mark.parametrize("seed", [0, 4, 6])
def test_nuscenes_devkit_reads_the_drawn_world_s_map_and_cuts_it_alike(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines, areas and crossings of nuscenes-devkit 1.2.0 in the same patch."""
    for name in ("descartes", "cv2"):  # which it draws with
        monkeypatch.setitem(sys.modules, name, MagicMock())
    api = pytest.importorskip(
        "nuscenes.map_expansion.map_api", reason="pip install --no-deps nuscenes-devkit==1.2.0", exc_type=ImportError
    )
    scene, file = make_scene(seed), map_file(tmp_path, location(seed))
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(expansion_of(scene)))
    monkeypatch.setattr(api, "locations", [location(seed)])
    ego = scene.to_global @ scene.ego.pose(1.0)
    layers = ["road_segment", "lane", "ped_crossing", "road_divider", "lane_divider"]
    patch = (*ego.translation[:2], 30.0, 60.0)
    whole = dict(api.NuScenesMap(str(tmp_path), location(seed)).get_map_geom(patch, np.degrees(ego.yaw), layers))
    found = read_nuscenes_map(file).around(ego)
    dividers, boundaries = (shapely.MultiLineString(lines_of(found, label)) for label in (DIVIDER, BOUNDARY))
    theirs = shapely.union_all([*whole["road_divider"], *whole["lane_divider"]])
    assert shapely.hausdorff_distance(dividers, theirs, densify=0.1) < 1e-5
    assert dividers.length == pytest.approx(theirs.length)
    road = shapely.union_all([*whole["road_segment"], *whole["lane"]])
    rim = road.boundary.difference(shapely.box(-30, -15, 30, 15).boundary.buffer(1e-6))
    assert boundaries.length == pytest.approx(rim.length, rel=1e-3)  # theirs has seams of centimetres
    assert (
        max(shapely.Point(point).distance(road.boundary) for line in boundaries.geoms for point in line.coords) < 1e-5
    )
    crossings = shapely.union_all([shapely.Polygon(ring) for ring in lines_of(found, CROSSING)])
    assert crossings.symmetric_difference(shapely.union_all(whole["ped_crossing"])).area < 1e-6


def test_a_hole_in_a_road_segment_is_a_closed_boundary(tmp_path: Path) -> None:
    """An island between the lanes and the kerb of the second scene without a crossing."""
    scene, file = make_scene(4), tmp_path / "map.json"
    content = expansion_of(scene)
    island = np.array([(5.0, 7.5), (8, 7.5), (8, 8.5), (5, 8.5)])
    for number, (x, y, _) in enumerate(scene.to_global(np.pad(island, ((0, 0), (0, 1)))).tolist()):
        content["node"].append({"token": f"n{number}", "x": x, "y": y})
    content["polygon"][0]["holes"] = [{"node_tokens": [f"n{number}" for number in range(4)]}]
    file.write_text(json.dumps(content))
    ego = scene.ego.pose(0.0)
    lines = lines_of(read_nuscenes_map(file).around(scene.to_global @ ego), BOUNDARY)
    (ring,) = [ego(np.pad(line, ((0, 0), (0, 1))))[:, :2] for line in lines if is_closed(line)]
    assert shapely.Polygon(ring).symmetric_difference(shapely.Polygon(island)).area < 1e-4
    assert len(lines) == 3


def test_what_needs_shapely_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "shapely", None)
    box = np.ones((1, 7))
    for run in (lambda: read_nuscenes_map(tmp_path / "map.json"), lambda: ious(box, box)):
        with pytest.raises(MissingExtraError, match=r"need shapely: pip install 'internimage\[driving\]'"):
            run()


def test_drawn_lines_lie_where_the_ground_changes() -> None:
    """Asphalt ends at boundaries and is on both sides of dividers; crossings are closed and on it."""
    for seed in range(6):
        scene = make_scene(seed)
        truth, ego = vector_map_of(scene, 1.0), scene.ego.pose(1.0)

        def asphalt(points: Array, ego: Pose = ego, road: Any = scene.road) -> Any:
            x, y, _ = ego(np.pad(points, ((0, 0), (0, 1)))).T
            return road.surface(x, y) == ASPHALT

        assert all(np.abs(line).max(0)[0] <= 30 + 1e-9 and np.abs(line).max(0)[1] <= 15 + 1e-9 for line in truth.lines)
        for line, label in zip(truth.lines, truth.labels, strict=True):
            points, step = (line[:-1] + line[1:]) / 2, np.diff(line, axis=0)
            aside = 0.3 * np.stack([-step[:, 1], step[:, 0]], 1) / np.linalg.norm(step, axis=1, keepdims=True)
            sides = np.stack([asphalt(points + aside), asphalt(points - aside)])
            assert is_closed(line) == (label == CROSSING)
            if label == BOUNDARY:
                assert (sides.sum(0) == 1).all()
            elif label == DIVIDER:
                assert sides.all()
            else:
                assert asphalt(line[:1].mean(0, keepdims=True) * 0.5 + line[2:3] * 0.5).all()


# Files of others


def points(*places: tuple[float, float]) -> list[dict[str, float]]:
    return [{"x": x, "y": y, "z": 9.0} for x, y in places]


def archive(**changes: Any) -> dict[str, Any]:
    """A road along y in two areas that touch, an island in it, two lanes, one of an intersection, and a crossing."""
    lanes = {
        "1": {"left_lane_boundary": points((0, -40), (0, 10)), "right_lane_boundary": points((3, -40), (3, 10))},
        "2": {"left_lane_boundary": points((0, 10), (0, -40)), "right_lane_boundary": points((-5.8, 10), (-5.8, -40))},
        "3": {"left_lane_boundary": points((0, 10), (0, 40)), "right_lane_boundary": points((3, 10), (3, 40))},
        "4": {"left_lane_boundary": points((-1, 10), (-1, 40)), "right_lane_boundary": points((1, 10), (1, 40))},
    }
    for number, lane in lanes.items():
        lane |= {"id": int(number), "is_intersection": number == "4", "lane_type": "VEHICLE"}
    areas = [
        points((-6, -50), (6, -50), (6, 20), (-6, 20)),
        points((-6, 20), (6, 20), (6, 50), (-6, 50)),
    ]
    return {
        "lane_segments": lanes,
        "pedestrian_crossings": {
            "7": {"id": 7, "edge1": points((-6, 12), (6, 12)), "edge2": points((-6, 16), (6, 16))}
        },
        "drivable_areas": {str(number): {"id": number, "area_boundary": area} for number, area in enumerate(areas)},
    } | changes


def written(folder: Path, content: Any) -> Path:
    file = folder / "map.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_a_map_of_argoverse_is_cut_as_by_hand(tmp_path: Path) -> None:
    """The vehicle stands at (1, 0) in the city and looks along y; what is x there is minus y here."""
    ego = flat_pose(np.pi / 2, (1.0, 0.0, 5.0))
    found = read_av2_map(written(tmp_path, archive())).around(ego)
    wanted = [
        [[(12, 7), (12, -5), (16, -5), (16, 7), (12, 7)]],
        [[(-30, 1), (30, 1)], [(-30, -2), (30, -2)]],  # an edge at 5.8 is the end of the road, as good as
        [[(-30, 7), (30, 7)], [(-30, -5), (30, -5)]],
    ]
    same_lines(VectorMap.true([[np.array(line, float) for line in own] for own in wanted]), found, 1e-6)
    island = np.array([(-2.0, 20), (2, 20), (2, 24), (-2, 24), (-2, 20)])
    whole = RoadMap([island + np.array([0, 8])], [], [island])
    seen = whole.around(ego)
    assert is_closed(lines_of(seen, BOUNDARY)[0])
    (cut,) = lines_of(seen, CROSSING)
    assert is_closed(cut)
    assert cut.max(0)[0] == 30
    assert not whole.around(flat_pose(0.0, (500.0, 0.0, 0.0))).lines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not readable JSON"),
        ({"lane_segments": {}}, "is no map of Argoverse 2: Object missing required field `pedestrian_crossings`"),
        (archive(drivable_areas={"5": {"area_boundary": points((0, 0), (1, 1))}}), "drivable_areas, 5, area_boundary"),
        (
            archive(pedestrian_crossings={"5": {"edge1": points((0, 0), (float("nan"), 1)), "edge2": []}}),
            "pedestrian_crossings, 5, edge1 has 2 points; expected 2 or more of finite numbers",
        ),
    ],
)
def test_maps_of_argoverse_that_are_none_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_av2_map(written(tmp_path, content))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "change", "message"),
    [
        ("node", {"x": None}, r"is no map expansion of nuScenes: Expected `float`, got `null` - at `\$.node"),
        ("node", {"x": float("inf")}, "node has places that are not finite"),
        ("node", {"token": "other"}, "node_tokens has .*, which is no record of node"),
        ("lane", {"polygon_token": "none"}, "lane .*: polygon_token is no record of polygon"),
        ("road_divider", {"line_token": "none"}, "road_divider .*: line_token is no record of line"),
    ],
)
def test_map_expansions_that_are_none_are_refused(layer: str, change: Any, message: str, tmp_path: Path) -> None:
    content = expansion_of(make_scene(0))
    content[layer][0] |= change
    with pytest.raises(DataError, match=message) as caught:
        read_nuscenes_map(written(tmp_path, content))
    assert str(tmp_path) in str(caught.value)


# GeoJSON and pictures


@pytest.mark.parametrize("ego", [None, make_scene(6).to_global @ make_scene(6).ego.pose(1.0)])
def test_geojson_is_read_as_it_was_written_to_a_millimetre(ego: Pose | None, tmp_path: Path) -> None:
    truth = vector_map_of(make_scene(6), 1.0)
    found = VectorMap(truth.lines, truth.labels, np.linspace(0.1, 0.987654321, len(truth.labels)))
    write_geojson(tmp_path / "map.geojson", found, CLASSES, ego)
    again = read_geojson(tmp_path / "map.geojson", CLASSES)
    assert (again.labels == found.labels).all()
    assert again.scores == pytest.approx(found.scores, abs=6e-7)
    for line, other in zip(again.lines, found.lines, strict=True):
        assert np.abs(line - other).max() < 8e-4
    content = json.loads((tmp_path / "map.geojson").read_text())
    assert {feature["geometry"]["type"] for feature in content["features"]} == {"LineString"}
    first = content["features"][0]["geometry"]["coordinates"][0]
    place = np.array([*found.lines[0][0], 0.0])
    assert first == pytest.approx((place if ego is None else ego(place))[:2], abs=6e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "Feature"}, "is no vector map as GeoJSON: Invalid enum value 'Feature'"),
        ({"frame": {"name": "world", "unit": "metre"}}, "frame: expected where the vehicle is if, and only if"),
        ({"class": "kerb"}, "features, 0, class is 'kerb'; expected ped_crossing, divider, boundary"),
        ({"score": None}, r"Expected `float`, got `null` - at `\$.features\[0\].properties.score`"),
    ],
)
def test_geojson_that_is_no_map_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    content = geojson_of(vector_map_of(make_scene(6), 1.0), CLASSES)
    target = content if set(change) <= set(content) else content["features"][0]["properties"]
    target |= change
    with pytest.raises(DataError, match=message):
        read_geojson(written(tmp_path, content), CLASSES)
    with pytest.raises(DataError, match="line 0 of the map has 1 points"):
        geojson_of(VectorMap.true([[np.zeros((1, 2))]]), CLASSES)


def test_a_map_is_drawn_where_it_lies() -> None:
    """A boundary ahead to the left: upper left, solid; what is true is dashed, and half as much of it."""
    line = np.array([(5.0, 10.0), (25.0, 10.0)])
    found = VectorMap([line, line - (0, 20)], np.array([BOUNDARY, BOUNDARY]), np.array([0.9, 0.1]))
    empty = VectorMap([], np.zeros(0, int), np.zeros(0))
    truth = VectorMap.true([[], [], [line]])
    pictures = draw_map(found, CLASSES, height=300), draw_map(empty, CLASSES, truth=truth, height=300)
    solid, dashed = (np.asarray(picture, int)[:300] for picture in pictures)
    for pixels in (solid, dashed):
        rows, columns = np.nonzero(pixels[..., 0] - pixels[..., 1] > 30)
        assert (rows.min() >= 25, rows.max() <= 125, columns.max() < 30) == (True, True, True)
        assert columns.mean() == pytest.approx(25, abs=1)
    filled = [(pixels[:, 25, 0] - pixels[:, 25, 1] > 30).sum() for pixels in (solid, dashed)]
    assert filled[0] > 95
    assert 0.35 < filled[1] / filled[0] < 0.75
    ring = np.array([(0.0, 0), (10, 0), (10, 10), (0, 0)])
    lengths = [np.linalg.norm(np.diff(dash, axis=0), axis=1).sum() for dash in dashes(ring, 1.0)]
    assert lengths == pytest.approx([1.0] * 17 + [200**0.5 + 20 - 34])


# From pictures to the ground


def test_a_plane_of_the_pictures_lands_in_its_cells() -> None:
    """Features say which place of the ground a pixel shows, per camera; cells find their own place again."""
    grid, scale, stride = BEVGrid(30, 60, EXTENT), 0.25, 4
    height = 0.5
    maps, matrices = [], []
    for camera in NUSCENES_RIG:
        (rows, columns), intrinsic = camera.scaled(scale)
        middles = np.stack(
            np.meshgrid(np.arange(stride / 2, columns, stride), np.arange(stride / 2, rows // stride * stride, stride))
        )
        pixels = np.concatenate([middles, np.ones_like(middles[:1])])
        rays = np.tensordot(camera.pose.rotation @ np.linalg.inv(intrinsic), pixels, 1)
        far = (height - camera.pose.translation[2]) / np.minimum(rays[2], -1e-3)
        maps.append((rays * far + camera.pose.translation[:, None, None])[:2])
        whole = np.eye(4)
        whole[:3] = intrinsic @ camera.pose.inverse.matrix[:3]
        matrices.append(whole)
    size = (maps[0].shape[1] * stride, maps[0].shape[2] * stride)
    views = replace(
        rig(1),
        images=torch.zeros(1, 6, 3, *size),
        lidar_to_pixels=torch.tensor(np.array(matrices))[None].float(),
        present=torch.ones(1, 6, dtype=torch.bool),
    )
    mapping = PerspectiveMapping(grid, (0.0, height), 2)
    fine = torch.tensor(np.array(maps)).float()
    planes = mapping.seen([fine, torch.zeros(6, 2, 7, 12)], views)
    places = mapping.points()
    near = (places[1, :, :2].abs() < 12).all(1) & (planes[0, :, 1] != 0).any(0)
    assert near.sum() > 350
    assert (planes[0, :, 1].T - places[1, :, :2])[near].abs().max() < 0.4
    assert (planes[0, :, 1].T - places[1, :, :2])[near].abs().mean() < 0.05
    assert (planes[0, :, 0].T - places[1, :, :2])[near].abs().mean() > 0.5  # another plane is elsewhere
    ahead = places[1, :, 0] > 5
    blind = replace(views, present=torch.tensor([[False, False, False, True, True, True]]))
    assert (mapping.seen([fine], blind)[0][..., ahead & (places[1, :, 1].abs() < 2)] == 0).all()
    assert mapping([fine], views).shape == (1, grid.cells, 2)


# Lines of fixed points


def test_orders_are_all_that_keep_neighbours() -> None:
    """By trying every permutation: a closed line of five corners has 2 * 5, an open one of five points 2."""
    for closed, size in ((True, 6), (False, 5)):
        count = size - closed
        pairs = {frozenset(pair) for pair in zip(range(count), np.arange(1, size) % count, strict=False)}
        wanted = {
            one
            for one in permutations(range(count))
            if {frozenset(pair) for pair in zip(one, (*one[1:], one[0])[: size - 1], strict=False)} == pairs
        }
        found = orders_of(size, closed)
        assert {tuple(order[:count].tolist()) for order in found} == wanted
        assert len(found) == len(wanted) == (2 * count if closed else 2)
        assert not closed or (found[:, 0] == found[:, -1]).all()


CANVAS = Canvas(BEVGrid(100, 200, EXTENT))
RING = np.array([(0.0, 0.0), (8, 0), (8, 4), (0, 4), (0, 0)])
OPEN = np.array([(-30.0, -3.0), (0, -3), (30, 5)])
TRUTH = VectorMap.true([[RING], [OPEN, OPEN + np.array([0.0, 4.0])], []])


def test_lines_are_matched_and_learnt_as_by_trying_everything() -> None:
    """Against loops over all assignments and orders: two layers, five elements, three lines, seven points."""
    generator = torch.Generator().manual_seed(0)
    target = LineTargets.of(TRUTH, CANVAS, 7)
    logits = torch.randn(2, 1, 5, 3, generator=generator)
    points = torch.rand(2, 1, 5, 7, 2, generator=generator)
    points[1, 0, 3] = target.orders[0, 4] + 0.01
    matched = match_lines(logits, points, [target])
    focal, distance, direction = line_losses(logits, points, matched, CANVAS.size)
    for layer in range(2):
        chance = logits[layer, 0].sigmoid()
        hit, miss = -0.25 * (1 - chance) ** 2 * chance.log(), -0.75 * chance**2 * (1 - chance).log()

        def cost(element: int, line: int, order: Tensor, layer: int = layer, gain: Tensor = hit - miss) -> float:
            away = (points[layer, 0, element] - order).abs().sum()
            return float(2 * gain[element, target.labels[line]] + 5 * away)

        best = {
            (element, line): min(target.orders[line], key=lambda order, pair=(element, line): cost(*pair, order))
            for element in range(5)
            for line in range(3)
        }
        costs = {pair: cost(*pair, order) for pair, order in best.items()}
        wanted = min(
            permutations(range(5), 3), key=lambda chosen: sum(costs[one, line] for line, one in enumerate(chosen))
        )
        own = matched.layers == layer
        assert dict(zip(matched.elements[own].tolist(), matched.labels[own].tolist(), strict=True)) == {
            element: int(target.labels[line]) for line, element in enumerate(wanted)
        }
        truth, apart, turned = torch.zeros(5, 3), 0.0, 0.0
        for line, element in enumerate(wanted):
            truth[element, target.labels[line]] = 1
            apart += float((points[layer, 0, element] - best[element, line]).abs().sum())
            edges = [CANVAS.metres(one).diff(dim=0) for one in (points[layer, 0, element], best[element, line])]
            turned += float(sum(1 - one @ two / (one.norm() * two.norm()) for one, two in zip(*edges, strict=True)))
        assert float(focal[layer]) == pytest.approx(2 * float(torch.where(truth > 0, hit, miss).sum()) / 3, rel=1e-5)
        assert float(distance[layer]) == pytest.approx(5 * apart / 3, rel=1e-5)
        assert float(direction[layer]) == pytest.approx(0.005 * turned / 3, rel=1e-4)
    assert 3 in matched.elements[matched.layers == 1]


# Boxes and vertices


def test_boxes_are_matched_and_learnt_as_by_trying_everything() -> None:
    generator = torch.Generator().manual_seed(1)
    target = LineTokens.of(TRUTH, CANVAS, 64)
    logits, corners = torch.randn(1, 1, 4, 3, generator=generator), torch.rand(1, 1, 4, 2, 2, generator=generator)
    corners[0, 0, 2] = target.corners[1] + 0.002
    matched = match_boxes(logits, corners, [target], CANVAS)
    cells = torch.tensor(CANVAS.cells)
    chance = logits[0, 0].sigmoid()
    hit, miss = -0.25 * (1 - chance) ** 2 * chance.log(), -0.75 * chance**2 * (1 - chance).log()

    def apart(element: int, line: int) -> float:
        away = ((corners[0, 0, element] - target.corners[line]) * cells).abs()
        return float(torch.where(away < 0.5, away**2, away - 0.25).sum())

    def cost(element: int, line: int) -> float:
        one, other = (
            shapely.box(*(part * cells - 1).amin(0).tolist(), *(part * cells + 1).amax(0).tolist())
            for part in (corners[0, 0, element], target.corners[line])
        )
        overlap = one.intersection(other).area / one.union(other).area
        return 2 * float((hit - miss)[element, target.labels[line]]) + 0.1 * apart(element, line) - overlap

    costs = {(element, line): cost(element, line) for element in range(4) for line in range(3)}
    wanted = min(permutations(range(4), 3), key=lambda chosen: sum(costs[one, line] for line, one in enumerate(chosen)))
    pairs = {(element, int(target.labels[line])) for line, element in enumerate(wanted)}
    assert set(zip(matched.elements.tolist(), matched.labels.tolist(), strict=True)) == pairs
    assert wanted[1] == 2
    _, distance = box_losses(logits, corners, matched, CANVAS)
    assert float(distance[0]) == pytest.approx(0.1 * sum(map(apart, wanted, range(3))) / 3, rel=1e-4)


def test_tokens_are_read_back_within_half_a_cell() -> None:
    """Of 0.31 by 0.32 m, over the whole canvas; whatever its direction and first point, a line has the same tokens."""
    numbers = np.random.default_rng(0)
    places = torch.tensor(numbers.uniform((-31, -16), (31, 16), (500, 2)))
    tokens = CANVAS.tokens(places)
    assert (tokens.amin(0) >= 1).all()
    assert (tokens.amax(0) <= torch.tensor([200, 100])).all()
    away = (CANVAS.metres(CANVAS.token_shares(tokens)) - places).abs().amax(0)
    assert (away <= torch.tensor([0.31, 0.32]) / 2 + 1e-5).all()
    assert CANVAS.shares(CANVAS.metres(torch.rand(5, 2))).min() >= -1e-6
    assert CANVAS.grid_shares(CANVAS.shares(torch.tensor([[-30.0, -15.0], [30, 15]]))).tolist() == [
        pytest.approx([0, 0], abs=1e-6),
        pytest.approx([1, 1], abs=1e-6),
    ]
    curve = np.stack([np.linspace(-29, 29, 300), 10 * np.sin(np.linspace(0, 6, 300))], axis=1)
    found = line_tokens(curve, CANVAS, 64)
    assert torch.equal(found, line_tokens(curve[::-1], CANVAS, 64))
    drawn = CANVAS.metres(CANVAS.token_shares(found)).numpy()
    assert shapely.hausdorff_distance(shapely.LineString(drawn), shapely.LineString(curve), densify=0.01) < 0.2 + 0.23
    assert len(line_tokens(curve, CANVAS, 5)) <= 5 < len(found) < 64
    first = line_tokens(RING, CANVAS, 64)
    for turn in range(4):
        ring = np.roll(RING[:-1], turn, axis=0)
        ring = np.concatenate([ring, ring[:1]])
        assert torch.equal(line_tokens(ring, CANVAS, 64), first)
        assert torch.equal(line_tokens(ring[::-1], CANVAS, 64), first)
    assert torch.equal(first[0], first[-1])
    assert edge_weights(torch.tensor([[0.0, 0], [1, 0], [1, 3]])).tolist() == pytest.approx([0.375, 1.5, 1.125])


def small_generator(**changes: Any) -> tuple[LineGenerator, tuple[Tensor, Tensor, Tensor]]:
    """One whose residuals count and whose attention looks around, and features, classes and boxes of three elements."""
    torch.manual_seed(0)
    canvas = Canvas(BEVGrid(15, 30, EXTENT))
    model = LineGenerator(canvas, 8, 16, 2, 32, 3, GeneratorConfig(layers=2, vertices=9, **changes)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("shares") or "sampling_offsets.weight" in name or "attention_weights.weight" in name:
            torch.nn.init.normal_(parameter, std=0.7)
        elif name.startswith(("x.", "y.", "classes.", "next_x.weight")):
            torch.nn.init.normal_(parameter, std=2.0)  # elements differ, and so do their lines
    boxes = torch.tensor([[1, 2, 20, 9], [5, 5, 5, 12], [10, 1, 30, 15]])
    return model, (torch.randn(450, 8), torch.tensor([0, 2, 1]), boxes)


@torch.no_grad()
def test_what_is_kept_of_earlier_tokens_changes_nothing() -> None:
    """Logits token by token are those of all tokens at once; later vertices change no earlier one."""
    model, (bev, labels, boxes) = small_generator()
    lines = model.draw(bev, labels, boxes)
    assert all(2 <= len(line) <= 9 for line in lines)
    vertices = torch.stack([torch.randint(1, high, (3, 9)) for high in (31, 16)], dim=-1)
    next_x, next_y = model(bev, labels, boxes, vertices)
    cells = model.project(bev)[None]
    after, past = model.step(*model.beginning(labels, boxes), cells, None)
    for number in range(9):
        torch.testing.assert_close(model.next_x(after), next_x[:, number], atol=1e-5, rtol=1e-5)
        before = vertices[:, number - 1] if number else None
        tokens, places = model.placed(vertices[:, number : number + 1], boxes, number, before)
        after, past = model.step(tokens[:, :1], places[:, :1], cells, past)
        torch.testing.assert_close(model.next_y(after), next_y[:, number], atol=1e-5, rtol=1e-5)
        after, past = model.step(tokens[:, 1:], places[:, 1:], cells, past)
    torch.testing.assert_close(model.next_x(after), next_x[:, 9], atol=1e-5, rtol=1e-5)
    changed = vertices.clone()
    changed[:, 5:] = 1
    again_x, again_y = model(bev, labels, boxes, changed)
    torch.testing.assert_close(again_x[:, :6], next_x[:, :6])
    torch.testing.assert_close(again_y[:, :5], next_y[:, :5])
    assert (again_x[:, 6:] - next_x[:, 6:]).abs().max() > 1e-3


@torch.no_grad()
def test_lines_are_drawn_from_the_likeliest_numbers_until_they_stop() -> None:
    """What is drawn follows from all tokens at once; in a tiny nucleus there is nothing to choose."""
    model, given = small_generator()
    model.next_x.bias[0] = 9.0
    lines = model.draw(*given)
    assert len({len(line) for line in lines}) > 1
    for number, line in enumerate(lines):
        own = [part[number : number + 1] for part in given[1:]]
        next_x, next_y = model(given[0], *own, line[None])
        next_x[:, :2, 0] = -torch.inf
        wanted = [*line[:, 0].tolist(), *([0] if len(line) < 9 else [])]
        assert next_x[0].argmax(-1).tolist()[: len(wanted)] == wanted
        assert (next_y[0].argmax(-1) + 1).tolist() == line[:, 1].tolist()
    model.config = replace(model.config, nucleus=1e-6)
    assert all(torch.equal(one, other) for one, other in zip(model.draw(*given), lines, strict=True))
    model.config = replace(model.config, nucleus=0.9)
    assert any(one.tolist() != other.tolist() for one, other in zip(model.draw(*given), lines, strict=True))


@torch.no_grad()
def test_likelihood_counts_long_edges_more() -> None:
    """By hand from the logits of two lines of different lengths."""
    model, (bev, _, _) = small_generator()
    target = LineTokens.of(VectorMap.true([[RING], [OPEN], []]), model.canvas, 9)
    assert target.counts.tolist() == [5, 3]
    total = weight = 0.0
    for number, count in enumerate(target.counts.tolist()):
        own = [part[number : number + 1] for part in (target.labels, target.boxes, target.vertices[:, :count])]
        next_x, next_y = (part[0].log_softmax(-1) for part in model(bev, *own))
        for place, (x, y) in enumerate(target.vertices[number, :count].tolist()):
            share = float(target.weights[number, place])
            total -= share * float(next_x[place, x] + next_y[place, y - 1])
            weight += 2 * share
        total -= float(next_x[count, 0])
        weight += 1
    assert float(model.losses(bev[None], [target])) == pytest.approx(total / weight, rel=1e-5)


# Networks


def small(**changes: Any) -> OnlineMapConfig:
    return OnlineMapConfig(
        **{
            "backbone": replace(BACKBONE, depths=(1, 1, 1), groups=(1, 2, 4)),
            "out_levels": (1, 2),
            "levels": 2,
            "cameras": ("a", "b", "c"),
            "channels": 16,
            "grid": BEVGrid(50, 100, EXTENT),
            "heights": (0.0, 1.0),
            "head_channels": 32,
            "heads": 2,
            "width": 64,
            "decoder_layers": 2,
            "elements": 12,
            "generator": GeneratorConfig(layers=2, dropout=0.0),
            "dropout": 0.0,
        }
        | changes
    )


@pytest.mark.full
@pytest.mark.parametrize("kind", ["one_stage", "two_stage"])
def test_a_scene_is_learnt_until_its_map_is_right(kind: Any) -> None:
    """Everything of a frame: Chamfer AP 1 at half a metre, and no further line that is likely."""
    torch.manual_seed(0)
    model, views = OnlineMap(small(kind=kind)), rig(1)
    truth = VectorMap.true([[RING], [OPEN, OPEN + np.array([0, 3.5])], [OPEN + np.array([0, 7.0])]])
    steps = 250
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        loss = torch.stack(list(model.losses([views], [truth]).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        (found,), _ = model.eval()(views)
    assert score(truth, found)["map"] == 1
    assert (found.scores > 0.5).sum() == len(truth.lines)


@pytest.mark.parametrize("kind", ["one_stage", "two_stage"])
@pytest.mark.parametrize("view_transform", ["ipm", "bevformer"])
def test_every_parameter_learns_and_the_configuration_is_kept(kind: Any, view_transform: Any) -> None:
    """Of frames with lines and without, also where there is no line at all; built again it predicts the same."""
    torch.manual_seed(0)
    model = OnlineMap(small(kind=kind, view_transform=view_transform, grid=BEVGrid(10, 20, EXTENT)))
    views, empty = rig(2), VectorMap([], np.zeros(0, np.int64), np.zeros(0))
    for truth in ([TRUTH, empty], [empty, empty]):
        losses = model.train().losses([views], truth)
        torch.stack(list(losses.values())).sum().backward()
        assert not [name for name, one in model.named_parameters() if one.grad is None]
        assert all(bool(loss.isfinite()) for loss in losses.values())
        if truth[0] is empty:
            assert not any(loss.any() for name, loss in losses.items() if "class" not in name)
    model.config = replace(model.config, detections=LineSelection(5, 0.0))
    again = OnlineMap(from_plain(OnlineMapConfig, json.loads(json.dumps(asdict(model.config))))).eval()
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        found, bev = model.eval()(views)
        other, _ = again(views)
    assert bev.shape == (2, 200, 16)
    for one, two in zip(found, other, strict=True):
        assert len(one.checked("found", 3).lines) == 5
        assert (np.diff(one.scores) <= 0).all()
        assert all((line == same).all() for line, same in zip(one.lines, two.lines, strict=True))
    model.reset_classifier(2)
    model.take_cameras(("c", "d"))
    whole = {name: value[:, :2] if name in OF_CAMERAS else value for name, value in vars(views).items()}
    fewer = Views(**whole)
    assert all(one.labels.max() < 2 for one in model.keeping(3)(fewer)[0])


OF_CAMERAS = ("images", "lidar_to_pixels", "present", "sizes")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "three_stage"}, "kind is 'three_stage'; expected one_stage or two_stage"),
        ({"view_transform": "lss"}, "view_transform is 'lss'"),
        ({"history": True}, "ipm needs heights and remembers nothing"),
        ({"head_channels": 33}, "expected a multiple of the 2 heads"),
        ({"line_points": 1}, "line_points is 1"),
        ({"elements": 0}, "queries is 0"),
    ],
)
def test_architectures_that_cannot_be_say_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**changes)
    for settings in ({"keep": 0}, {"score_threshold": 1.0}):
        with pytest.raises(ConfigError):
            LineSelection(**settings)
    for broken in ({"vertices": 1}, {"nucleus": 1.0}):
        with pytest.raises(ConfigError):
            GeneratorConfig(**broken)
