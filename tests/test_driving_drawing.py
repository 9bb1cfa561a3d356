"""Drawn boxes against projections written out here; sheets, recordings and videos of drives."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from internimage.drawing.objects import class_colour
from internimage.driving.data.frames import NUSCENES_CAMERAS, Camera, Frame
from internimage.driving.drawing.above import draw_above
from internimage.driving.drawing.cameras import draw_boxes, projected_edges
from internimage.driving.drawing.scene import arranged, draw_frame
from internimage.driving.geometry.boxes import Boxes
from internimage.driving.geometry.poses import Pose
from internimage.driving.geometry.standing import standing_corners
from internimage.driving.results.recording import write_recording
from internimage.driving.results.video import write_drive
from internimage.driving.world.rig import ARGOVERSE_RIG, LIDAR, NUSCENES_RIG, RigCamera
from internimage.errors import ConfigError, DataError, InternImageError, MissingExtraError

SIZE = (400, 225)
INTRINSIC = np.array([[300.0, 0, 200], [0, 300, 112.5], [0, 0, 1]])
AHEAD = Pose(np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), np.zeros(3))  # a camera at the lidar that looks along y
NAMES = ("car", "traffic_cone")


def box(centre: tuple[float, float, float], yaw: float = np.pi / 2, label: int = 0, score: float = 1.0) -> Boxes:
    """One box of 2 m width, 4 m length, 1.6 m height that moves along its x axis."""
    sizes, velocity = np.array([[2.0, 4.0, 1.6]]), np.array([[3.0, 0.0]])
    return Boxes(np.array([centre]), sizes, np.array([yaw]), velocity, np.array([label]), np.array([score]))


def camera_of(one: RigCamera, file: Path) -> Camera:
    size, intrinsic = one.scaled(0.1)
    return Camera(one.channel, file, intrinsic, LIDAR.inverse @ one.pose, size, 0)


@pytest.fixture
def frame(tmp_path: Path) -> Frame:
    """Six grey pictures, of which the last is no picture."""
    cameras = []
    for one in NUSCENES_RIG:
        file = tmp_path / f"{one.channel}.png"
        Image.new("RGB", (160, 90), (90, 90, 90)).save(file)
        cameras.append(camera_of(one, file))
    cameras[-1].file.write_bytes(b"no picture")  # type: ignore[union-attr]
    return Frame("one", "scene-0001", 1_600_000_000_000_000, Pose.identity(), LIDAR, tuple(cameras))


def test_edges_are_those_parts_that_a_camera_sees() -> None:
    """Of 150 boxes all around: as long as the dense samples of their edges that lie before the camera and inside."""
    rng = np.random.default_rng(0)
    pairs = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)]
    share = np.linspace(0, 1, 2001)[:, None]
    drawn = 0
    for _ in range(150):
        corners = AHEAD.inverse(box(tuple(rng.uniform(-6, 6, 3)), rng.uniform(-4, 4)).corners()[0])
        first, second = projected_edges(corners, INTRINSIC, SIZE)
        assert (
            (np.concatenate([first, second]) >= -1e-6) & (np.concatenate([first, second]) <= np.add(SIZE, 1e-6))
        ).all()
        expected = 0.0
        for a, b in pairs:
            points = corners[a] + share * (corners[b] - corners[a])
            seen = points[points[:, 2] > 0.1] @ INTRINSIC.T
            pixels = seen[:, :2] / seen[:, 2:]
            inside = ((pixels >= 0) & (pixels <= SIZE)).all(1)
            steps = np.linalg.norm(np.diff(pixels, axis=0), axis=1)
            expected += steps[inside[1:] & inside[:-1]].sum()
        length = np.linalg.norm(second - first, axis=1).sum()
        assert length == pytest.approx(expected, rel=0.02, abs=12)
        drawn += length > 100
    assert drawn > 20


def test_a_box_is_drawn_where_it_is() -> None:
    camera = Camera("CAM_FRONT", Path("none"), INTRINSIC, AHEAD, (225, 400), 0)
    grey = Image.new("RGB", SIZE, (128, 128, 128))
    found = draw_boxes(grey, camera, box((1.0, 12.0, -0.5)), NAMES, labels=False)
    colour = np.array(class_colour(0))
    near, far = 10.0, 14.0  # the rear face is nearer, the front is tinted
    lines = [(0.0, -0.5, near), (2.0, -0.5, near), (1.0, 0.3, near), (1.0, -1.3, near), (0.0, -1.3, 12.0)]
    for x, z, away in lines:
        column, row = int(200 + 300 * x / away), int(112.5 - 300 * z / away)
        around = np.array(found)[row - 1 : row + 2, column - 1 : column + 2].astype(int)
        assert (around[..., 2] - around[..., 0]).max() > 90, (x, z, away)  # blue lines a pixel wide; the tint has 57
    inside = found.getpixel((round(200 + 300 * 0.8 / far), round(112.5 + 300 * 0.4 / far)))
    expected = 128 + (colour - 128) * 70 / 255
    np.testing.assert_allclose(inside, expected, atol=3)
    changed = np.argwhere((np.array(found) != 128).any(2))[:, ::-1]
    low, high = (200 + 0.0, 112.5 - 300 * 0.3 / near), (200 + 300 * 2 / near, 112.5 + 300 * 1.3 / near)
    np.testing.assert_allclose([changed.min(0), changed.max(0)], [low, high], atol=3.5)
    half = draw_boxes(grey.resize((200, 112)), camera, box((1.0, 12.0, -0.5)), NAMES, labels=False)
    changed = np.argwhere((np.array(half) != 128).any(2))[:, ::-1]
    np.testing.assert_allclose([changed.min(0), changed.max(0)], np.array([low, high]) / 2, atol=3.5)


def test_boxes_stand_upright_in_the_world() -> None:
    """Of a lidar that leans: a vertical edge has the length of the height and leads straight up in the global frame."""
    lean = Pose.from_quaternion([np.cos(0.1), np.sin(0.1), 0.0, 0.0], [3.0, 4.0, 5.0])
    one = box((2.0, 10.0, -1.0), yaw=0.7)
    corners = lean(standing_corners(one, lean)[0])
    np.testing.assert_allclose(corners[3] - corners[0], [0, 0, 1.6], atol=1e-9)
    np.testing.assert_allclose(corners.mean(0), lean(one.centres)[0], atol=1e-9)
    heading = corners[0] - corners[4]
    expected = lean.rotation @ [np.cos(0.7), np.sin(0.7), 0]
    np.testing.assert_allclose(np.arctan2(heading[1], heading[0]), np.arctan2(expected[1], expected[0]), atol=1e-9)
    np.testing.assert_allclose(standing_corners(one, Pose.identity()), one.corners(), atol=1e-12)


@pytest.mark.parametrize("centre", [(0.0, -12.0, 0.0), (60.0, 10.0, 0.0), (0.0, 10.0, 40.0)])
def test_what_a_camera_does_not_see_is_not_drawn(centre: tuple[float, float, float]) -> None:
    camera = Camera("CAM_FRONT", Path("none"), INTRINSIC, AHEAD, (225, 400), 0)
    grey = Image.new("RGB", SIZE, (128, 128, 128))
    found = draw_boxes(grey, camera, box(centre), NAMES, truth=box(centre))
    assert np.array_equal(np.array(found), np.array(grey))


@pytest.mark.full
def test_boxes_of_a_real_frame_have_the_outlines_of_the_prepared_file(shared: Path) -> None:
    """The file has rectangles of projected boxes in each picture, made by the code of others."""
    folder = shared / "data" / "nuscenes_frame"
    record = json.loads((folder / "frame.json").read_text())["data_list"][0]
    values = np.array([one["bbox_3d"] for one in record["instances"]])
    none = np.zeros(len(values))
    boxes = Boxes(values[:, :3], values[:, [4, 3, 5]], values[:, 6], np.zeros((len(values), 2)), none.astype(int), none)
    upright = Pose.from_matrix(record["ego2global"]) @ Pose.from_matrix(record["lidar_points"]["lidar2ego"])
    compared = 0
    for channel, one in record["images"].items():
        pose, intrinsic = Pose.from_matrix(one["lidar2cam"]).inverse, np.array(one["cam2img"])
        outlines = []
        for corners in pose.inverse(standing_corners(boxes, upright)):
            ends = np.concatenate(projected_edges(corners, intrinsic, (1600, 900)))
            if len(ends):
                outlines.append([*ends.min(0), *ends.max(0)])
        for wanted in (np.array(other["bbox"]) for other in record["cam_instances"][channel]):
            assert np.abs(np.array(outlines) - wanted).max(1).min() < 0.5, (channel, wanted)
            compared += 1
    assert compared == 84


def test_true_boxes_are_dashed_and_labels_have_scores() -> None:
    camera = Camera("CAM_FRONT", Path("none"), INTRINSIC, AHEAD, (225, 400), 0)
    grey, one = Image.new("RGB", SIZE, (128, 128, 128)), box((1.0, 12.0, -0.5))
    solid, dashed = (
        (np.array(draw_boxes(grey, camera, *given, NAMES, truth=truth, labels=False)) != 128).any(2).sum()
        for given, truth in (((one,), None), ((Boxes.empty(),), one))
    )
    assert 200 < dashed < 0.7 * solid
    plain, scored = (draw_boxes(grey, camera, box((1.0, 12.0, -0.5), score=score), NAMES) for score in (1.0, 0.5))
    assert not np.array_equal(np.array(plain), np.array(scored))


def test_above_shows_places_headings_and_velocities() -> None:
    empty = np.array(draw_above(Boxes.empty(), size=400, reach=50.0)).astype(int)
    found = np.array(draw_above(box((20.0, 10.0, 0.0), label=1), size=400, reach=50.0)).astype(int)
    changed = np.argwhere((np.abs(found - empty) > 20).any(2))[:, ::-1] + 0.5  # four pixels a metre, up is y
    left, top, right, bottom = 200 + 4 * 19, 200 - 4 * 12, 200 + 4 * 23, 200 - 4 * 8  # the velocity leads to x = 23
    np.testing.assert_allclose([changed.min(0), changed.max(0)], [(left, top), (right, bottom)], atol=2.5)
    colour = np.array(class_colour(1))
    blue = np.abs(found[200 - 4 * 11 - 2 : 200 - 4 * 11 + 2, 279:281] - colour).max(2).min()
    assert blue < 60  # from the middle to the front
    unknown = replace(box((20.0, 10.0, 0.0), label=1), velocities=np.full((1, 2), np.nan))
    assert not np.array_equal(np.array(draw_above(unknown, size=400, reach=50.0)), found)
    truth = np.array(draw_above(Boxes.empty(), truth=box((20.0, 10.0, 0.0), label=1), size=400, reach=50.0))
    assert 20 < (np.abs(truth - empty) > 20).any(2).sum() < 0.8 * len(changed)


def test_cameras_stand_as_they_look() -> None:
    places = [[one.channel for one in row] for row in arranged([camera_of(one, Path("x")) for one in NUSCENES_RIG])]
    assert places == [[NUSCENES_CAMERAS[i] for i in (2, 0, 1)], [NUSCENES_CAMERAS[i] for i in (4, 3, 5)]]
    places = [
        [one.channel[5:] for one in row] for row in arranged([camera_of(one, Path("x")) for one in ARGOVERSE_RIG])
    ]
    assert places == [
        ["front_left", "front_center", "front_right"],
        ["side_left", "rear_left", "rear_right", "side_right"],
    ]


@pytest.mark.parametrize("width", [320, 1600])
def test_a_sheet_has_all_cameras_even_unreadable_ones(frame: Frame, width: int) -> None:
    sheet = draw_frame(frame, box((2.0, 10.0, -1.0)), NAMES, truth=box((2.2, 10.0, -1.0)), width=width)
    assert sheet.width == width
    pixels = np.array(sheet).reshape(-1, 3)
    tiles = [(pixels == grey).all(1).mean() for grey in ((90, 90, 90), (186, 189, 192))]
    assert 4 < tiles[0] / tiles[1] < 6.5
    assert ((pixels == class_colour(0)).all(1).sum()) > 30
    assert (
        draw_frame(Frame("a", "b", 10**19, frame.ego, frame.lidar, ()), Boxes.empty(), NAMES, width=width).width
        == width
    )


def test_a_drive_becomes_a_video(frame: Frame, tmp_path: Path) -> None:
    import av

    given = [(frame, box((2.0, 10.0 + step, -1.0))) for step in range(3)]
    assert write_drive(tmp_path / "drive.mp4", given, NAMES, width=320, truth=lambda _: Boxes.empty()) == 3
    with av.open(str(tmp_path / "drive.mp4")) as video:
        assert [float(one.time) for one in video.decode(video=0)] == [0.0, 0.5, 1.0]
        assert video.streams.video[0].width == 320


@pytest.mark.parametrize(
    ("error", "match", "write"),
    [
        (ConfigError, "mp4", lambda folder: write_drive(folder / "a.gif", [], NAMES)),
        (DataError, "no frames", lambda folder: write_drive(folder / "a.mp4", [], NAMES)),
        (ConfigError, "rrd", lambda folder: write_recording(folder / "a.mp4", [], NAMES)),
    ],
)
def test_refusals(tmp_path: Path, error: type[InternImageError], match: str, write: Callable[[Path], object]) -> None:
    with pytest.raises(error, match=match):
        write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_recording_needs_the_sdk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingExtraError, match=r"internimage\[viewer\]"):
        write_recording(tmp_path / "a.rrd", [], NAMES)


def test_a_drive_becomes_a_recording(frame: Frame, tmp_path: Path) -> None:
    given = [(frame, box((2.0, 10.0 + step, -1.0))) for step in range(2)]
    assert write_recording(tmp_path / "a.rrd", given, NAMES, truth=lambda _: Boxes.empty()) == 2
    assert (tmp_path / "a.rrd").read_bytes()[:3] == b"RRF"
