"""The drawn driving world against geometry written out here, and its tables against themselves."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from internimage.driving.world.painting import Painting, View
from internimage.driving.world.rig import ARGOVERSE_RIG, NUSCENES_RIG
from internimage.driving.world.roads import ASPHALT, GRASS, PAVEMENT, Road
from internimage.driving.world.scene import EgoMotion, Scene, make_scene
from internimage.driving.world.things import KINDS, Thing
from internimage.driving.world.writing import write_world
from internimage.errors import ConfigError, DataError

SEEDS = (3, 100)
CAR = Thing("car", (1.9, 4.6, 1.65), (16.0, -1.75), 0.0, 0.0, (196, 44, 40), "vehicle.parked")
STRAIGHT = EgoMotion(speed=5.0, middle=-1.75, sway=0.0, rate=1.0, phase=0.0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of two frames."""
    root = tmp_path_factory.mktemp("world") / "drawn"
    told: list[tuple[int, int]] = []
    scenes = {"train": SEEDS[:1], "val": SEEDS[1:]}
    summary = write_world(root, scenes, frames=2, width=112, progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 2), (2, 2)]
    boxes = 2 * sum(len(make_scene(seed).things) for seed in SEEDS)
    assert str(summary) == (
        f"{root}: 2 drawn scenes (1 train, 1 val), 4 frames with 6 cameras of 112x63, {boxes} boxes"
    )
    return root


@pytest.fixture(scope="module")
def tables(world: Path) -> dict[str, list[dict[str, Any]]]:
    return {path.stem: json.loads(path.read_text()) for path in (world / "v1.0-world").iterdir()}


def turned(quaternion: list[float]) -> Any:
    """(3, 3) from w, x, y, z: v + 2 w (q x v) + 2 q x (q x v)."""
    w, q = quaternion[0], np.array(quaternion[1:])
    return np.stack([v + 2 * w * np.cross(q, v) + 2 * np.cross(q, np.cross(q, v)) for v in np.eye(3)], axis=1)


def moved(record: dict[str, Any]) -> Any:
    """(4, 4) of a record with a rotation and a translation."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turned(record["rotation"]), record["translation"]
    return matrix


def corners_of(size: list[float], matrix: Any) -> Any:
    """(8, 4) corners of a box of width, length, height."""
    local = [[x * size[1], y * size[0], z * size[2], 1] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
    return np.array(local) @ matrix.T


def static(*things: Thing, crossing: float | None = None) -> Scene:
    """Things that stand on a straight road."""
    return replace(make_scene(1), road=Road(1, crossing), ego=STRAIGHT, things=things, elements=(), furniture=())


def test_a_seed_is_a_scene() -> None:
    view = View(NUSCENES_RIG[0], 0.05)
    first, again, other = (view.painted(make_scene(seed), 0.5) for seed in (7, 7, 8))
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.depth, again.depth)
    assert not np.array_equal(first.pixels, other.pixels)
    scene = make_scene(7)
    assert (len(scene.things), scene.road.lanes_a_side, round(scene.ego.speed, 3)) == (11, 2, 3.032)


def test_things_never_meet_and_suit_their_kind() -> None:
    """Two boxes overlap where a point of a grid in one lies in the other."""
    along, across = (part.ravel() for part in np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.5, 0.5, 7)))
    seen = set()
    for seed in range(40):
        scene = make_scene(seed)
        assert 6 <= len(scene.things) <= 12
        seen |= {(one.kind, one.speed > 2) for one in scene.things}
        for time in (0.0, 1.5, 4.0, 10.0):
            boxes = scene.boxes(time)
            np.testing.assert_allclose(boxes.centres[:, 2], boxes.sizes[:, 2] / 2)
            c, s = np.cos(boxes.yaws)[:, None], np.sin(boxes.yaws)[:, None]
            x, y = boxes.sizes[:, 1:2] * along, boxes.sizes[:, :1] * across
            grid = boxes.centres[:, None, :2] + np.stack([c * x - s * y, s * x + c * y], axis=2)  # (N, P, 2)
            away = grid[:, None] - boxes.centres[None, :, None, :2]  # points of the first in the second
            inside = (np.abs(away[..., 0] * c + away[..., 1] * s) < boxes.sizes[:, 1:2] / 2) & (
                np.abs(away[..., 1] * c - away[..., 0] * s) < boxes.sizes[:, :1] / 2
            )
            np.testing.assert_array_equal(inside.any(2), np.eye(len(boxes), dtype=bool))
            if time == 0:
                lane = (grid[..., 0] > 0) & (grid[..., 0] < 8) & (np.abs(grid[..., 1] - scene.ego.middle) < 1.75)
                assert not lane.any()
    assert seen >= {(kind, False) for kind in KINDS if kind not in ("truck", "bus")}
    assert seen >= {(kind, True) for kind in ("car", "truck", "bus", "bicycle")}


def test_depth_and_colours_are_those_of_the_geometry() -> None:
    scene, view = static(CAR), View(NUSCENES_RIG[0], 0.25)
    painting = view.painted(scene, 0.0)
    away = CAR.place[0] - CAR.size[1] / 2 - 1.7  # from the camera to the rear
    u, v = (view.intrinsic @ [0, 1.5 - 0.7, away] / away)[:2]  # a place on it 0.7 m above the ground
    row, column = int(v), int(u)
    assert painting.owner[row, column] == 0
    np.testing.assert_allclose(painting.depth[row, column], away, rtol=1e-5)
    shade = 0.74 * scene.light * np.exp(-away / 110)  # the rear face through haze, which is grey
    red, green, _ = painting.pixels[row, column].astype(float)
    assert red - green == pytest.approx((196 - 44) * shade, rel=0.12)
    ground = painting.owner == -1
    rows = np.arange(view.size[0]) + 0.5 - view.intrinsic[1, 2]
    expected = np.where(rows > 0, view.intrinsic[1, 1] * 1.5 / np.where(rows > 0, rows, 1), np.inf)
    wanted = np.broadcast_to(expected[:, None], view.size)
    np.testing.assert_allclose(painting.depth[ground], wanted[ground], rtol=1e-5)
    assert painting.outlines.tolist() == [(painting.owner == 0).sum()]


def test_faces_differ_and_lights_say_where_the_front_is() -> None:
    view, colours = View(NUSCENES_RIG[0], 0.25), []
    for yaw in (0.0, np.pi / 2, np.pi):
        painting = view.painted(static(replace(CAR, yaw=yaw)), 0.0)
        colours.append(painting.pixels[painting.owner == 0].astype(int))
    bright = [(one.min(1) > 170).mean() for one in colours]
    red = [((one[:, 0] > 150) & (one[:, 1] < 60) & (one[:, 2] < 60)).mean() for one in colours]
    assert bright[2] > 0.02 > max(bright[:2])  # head lamps
    assert len({round(value, 2) for value in red}) == 3


def test_static_frames_agree_through_the_motion_of_the_vehicle() -> None:
    scene, view = static(CAR, replace(CAR, place=(22.0, 3.0), colour=(40, 92, 180))), View(NUSCENES_RIG[0], 0.25)
    one, other = view.painted(scene, 0.0), view.painted(scene, 1.0)
    rows, columns = np.nonzero(np.isfinite(one.depth) & (one.depth < 25))
    rays = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))]) * one.depth[rows, columns]
    points = np.linalg.inv(view.intrinsic) @ rays
    points[2] -= 5.0  # metres driven in between, straight ahead
    before = points[2] > 0.5
    seen = view.intrinsic @ points[:, before]
    u, v = np.floor(seen[:2] / seen[2]).astype(int)
    inside = (u >= 0) & (u < view.size[1]) & (v >= 0) & (v < view.size[0])
    u, v = u[inside], v[inside]
    same = one.owner[rows, columns][before][inside] == other.owner[v, u]
    farther = seen[2, inside] / other.depth[v, u] - 1
    assert inside.sum() > 5000
    assert (farther > 0.05).mean() < 0.06  # now behind a car
    assert (same & (farther > -0.05))[farther < 0.05].mean() > 0.99
    colours = (painting.pixels.astype(int) for painting in (one, other))
    first, second = next(colours)[rows, columns][before][inside], next(colours)[v, u]
    assert np.median(np.abs(first - second).max(1)[same]) < 12  # less haze


def test_motion_agrees_with_its_derivatives() -> None:
    ego, step = make_scene(3).ego, 1e-4
    for time in (0.0, 0.7, 3.1):
        acceleration, rate, velocity = ego.imu(time)
        before, now, after = (ego.pose(time + shift) for shift in (-step, 0, step))
        way = (after.translation - before.translation) / (2 * step)
        np.testing.assert_allclose(now.rotation.T @ way, velocity, atol=1e-6)
        bend = (after.translation - 2 * now.translation + before.translation) / step**2
        np.testing.assert_allclose((now.rotation.T @ bend)[:2], acceleration[:2], atol=1e-5)
        np.testing.assert_allclose((after.yaw - before.yaw) / (2 * step), rate[2], atol=1e-7)


def test_lanes_follow_each_other_on_the_ground_they_are_for() -> None:
    for road in (Road(1, None), Road(2, None), Road(1, 22.0), Road(2, 25.0)):
        assert len(road.lanes) == (2 * road.lanes_a_side if road.crossing is None else 6 * road.lanes_a_side + 8)
        for lane in road.lanes:
            points = lane.points(21)
            assert (road.surface(points[:, 0], points[:, 1]) == ASPHALT).all()
            for successor in lane.successors:
                np.testing.assert_allclose(points[-1], road.lanes[successor].points(2)[0], atol=1e-9)
                ways = lane.curve[-1] - lane.curve[-2], np.subtract(*road.lanes[successor].curve[1::-1])
                assert np.dot(*ways) / np.prod([np.linalg.norm(way) for way in ways]) == pytest.approx(1)
    road = Road(1, 20.0)
    kinds = road.surface(np.array([0.0, 0.0, 0.0, 20.0]), np.array([0.0, 7.0, 10.0, 40.0]))
    assert kinds.tolist() == [ASPHALT, PAVEMENT, GRASS, ASPHALT]


def test_both_rigs_look_where_they_should() -> None:
    for camera in (*NUSCENES_RIG, *ARGOVERSE_RIG):
        axis = camera.pose.rotation[:, 2]
        assert np.degrees(np.arctan2(axis[1], axis[0])) == pytest.approx(camera.yaw, abs=1e-9)
        np.testing.assert_allclose(camera.pose.rotation @ [0, 1, 0], [0, 0, -1], atol=1e-12)
        assert np.linalg.det(camera.pose.rotation) == pytest.approx(1)
    assert [camera.scaled(0.1)[0] for camera in ARGOVERSE_RIG[:2]] == [(205, 155), (155, 205)]


def test_tables_point_to_what_is_there(world: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    assert len(tables) == 13
    known = {name: {row["token"]: row for row in rows} for name, rows in tables.items()}
    assert all(len(known[name]) == len(rows) for name, rows in tables.items())
    for name, rows in tables.items():
        for row in rows:
            for key, value in row.items():
                other = {"first_sample": "sample", "last_sample": "sample"}.get(key[:-6], key[:-6])
                other = "sample_annotation" if other.endswith("_annotation") else other
                if key.endswith("_token"):
                    assert value in known[other], (name, key)
            for key, back in (("prev", "next"), ("next", "prev")):
                assert not row.get(key) or known[name][row[key]][back] == row["token"]
    assert all(key in known["attribute"] for row in tables["sample_annotation"] for key in row["attribute_tokens"])
    for row in tables["sample_data"]:
        assert (world / row["filename"]).is_file()
        if row["fileformat"] == "jpg":
            with Image.open(world / row["filename"]) as picture:
                assert picture.size == (row["width"], row["height"]) == (112, 63)
    splits = json.loads((world / "splits.json").read_text())
    assert splits == {"train": ["scene-0003"], "val": ["scene-0100"]}
    assert {row["name"] for row in tables["scene"]} == {name for names in splits.values() for name in names}
    assert "no benchmark" in (world / "README.txt").read_text()


def test_can_bus_follows_the_poses(world: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    poses = {row["token"]: row for row in tables["ego_pose"]}
    samples = {row["token"]: row for row in tables["sample"]}
    scenes = {row["token"]: row["name"] for row in tables["scene"]}
    for data in tables["sample_data"]:
        name = scenes[samples[data["sample_token"]]["scene_token"]]
        records = json.loads((world / "can_bus" / f"{name}_pose.json").read_text())
        times = [record["utime"] for record in records]
        assert set(np.diff(times)) == {20_000}
        pose = poses[data["ego_pose_token"]]
        for axis in range(3):
            place = np.interp(pose["timestamp"], times, [record["pos"][axis] for record in records])
            assert place == pytest.approx(pose["translation"][axis], abs=1e-3)
        before = records[np.searchsorted(times, pose["timestamp"]) - 1]
        np.testing.assert_allclose(turned(before["orientation"]), turned(pose["rotation"]), atol=0.01)


def test_boxes_move_as_their_things_do(tables: dict[str, list[dict[str, Any]]]) -> None:
    moving = 0
    known = {row["token"]: row for row in tables["sample_annotation"]}
    for row in tables["sample_annotation"]:
        assert row["translation"][2] == pytest.approx(row["size"][2] / 2)
        if not row["next"]:
            continue
        velocity = (np.array(known[row["next"]]["translation"]) - row["translation"]) / 0.5
        heading = turned(row["rotation"])[:, 0]
        if np.linalg.norm(velocity) > 1e-6:
            np.testing.assert_allclose(velocity / np.linalg.norm(velocity), heading, atol=1e-6)
            moving += np.linalg.norm(velocity) > 3
    assert moving >= 4


def test_matrices_from_the_tables_lead_to_the_painted_pixels(tables: dict[str, list[dict[str, Any]]]) -> None:
    """The outline of what was painted is that of the projected corners, to a pixel; unseen boxes have no points."""
    known = {name: {row["token"]: row for row in rows} for name, rows in tables.items()}
    views, checked = {one.channel: View(one, 112 / 1600) for one in NUSCENES_RIG}, 0
    for seed in SEEDS:
        scene = next(row for row in tables["scene"] if row["name"] == f"scene-{seed:04d}")
        sample = scene["last_sample_token"]
        rows = [row for row in tables["sample_annotation"] if row["sample_token"] == sample]
        data, seen = {}, set[str]()
        for one in tables["sample_data"]:
            sensor = known["calibrated_sensor"][one["calibrated_sensor_token"]]
            if one["sample_token"] == sample:
                pose = moved(known["ego_pose"][one["ego_pose_token"]]) @ moved(sensor)
                data[known["sensor"][sensor["sensor_token"]]["channel"]] = pose, np.array(sensor["camera_intrinsic"])
        lidar, _ = data.pop("LIDAR_TOP")
        np.testing.assert_allclose(
            np.linalg.inv(lidar) @ data["CAM_FRONT"][0] @ [0, 0, 1, 1], [0, 1.76, -0.34, 1], atol=1e-9
        )
        for channel, (pose, intrinsic) in data.items():
            to_pixels = intrinsic @ (np.linalg.inv(pose) @ lidar)[:3]
            painting: Painting = views[channel].painted(make_scene(seed), 0.5)
            for number, row in enumerate(rows):
                points = corners_of(row["size"], np.linalg.inv(lidar) @ moved(row)) @ to_pixels.T
                mask = painting.owner == number
                if mask.any():
                    seen.add(row["token"])
                if mask.sum() < 20 or mask.sum() < painting.outlines[number] or points[:, 2].min() < 0.5:
                    continue
                corners = points[:, :2] / points[:, 2:]
                low, high = corners.min(0), corners.max(0)
                if (low < 0).any() or (high > (112, 63)).any():
                    continue
                at = np.argwhere(mask)[:, ::-1]
                np.testing.assert_allclose([at.min(0), at.max(0) + 1], [low, high], atol=1.01)
                checked += 1
        assert seen == {row["token"] for row in rows if row["num_lidar_pts"]}
    assert checked > 10


@pytest.mark.parametrize(
    ("error", "match", "write"),
    [
        (DataError, "holds something.txt", lambda root: write_world(root)),
        (ConfigError, "seed 4", lambda root: write_world(root, {"train": [4], "val": [4]})),
        (ConfigError, "seed -1", lambda root: write_world(root, {"train": [-1]})),
        (ConfigError, "no seeds", lambda root: write_world(root, {"train": []})),
        (ConfigError, "frames 22: expected 1 to 21", lambda root: write_world(root, frames=22)),
        (ConfigError, "cameras 7", lambda root: write_world(root, cameras=7)),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, error: type[Exception], match: str, write: Callable[[Path], object]
) -> None:
    (tmp_path / "something.txt").write_text("mine")
    with pytest.raises(error, match=match):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["something.txt"]
