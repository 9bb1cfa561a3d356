"""Vector maps: what lies around a vehicle, and networks that find it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from internimage.driving.data.av2_map import read_av2_map
from internimage.driving.data.nuscenes_map import map_file, read_nuscenes_map
from internimage.driving.drawing.maps import dashes, draw_map
from internimage.driving.geometry.poses import Array, Pose
from internimage.driving.geometry.road_map import RoadMap
from internimage.driving.geometry.vector_map import CLASSES, VectorMap, is_closed
from internimage.driving.metrics.polylines import VectorMapScore
from internimage.driving.results.geojson import geojson_of, read_geojson, write_geojson
from internimage.driving.world.maps import expansion_of, vector_map_of
from internimage.driving.world.roads import ASPHALT
from internimage.driving.world.scene import flat_pose, make_scene
from internimage.driving.world.tables import location
from internimage.errors import DataError

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
    """Read, united, put together and cut with shapely: the same lines as from the road's own numbers."""
    seen = np.zeros(3, int)
    for seed in range(12):
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
