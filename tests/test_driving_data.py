"""Drives from nuScenes' tables against the released converter and reader; what networks are given of them."""

import colorsys
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.drives import VERSION, released, write_drives

from internimage.data.formats import kept
from internimage.data.formats.json_lists import read_list
from internimage.data.left_out import UNUSABLE
from internimage.data.splits import make_splits
from internimage.driving.data import nuscenes, single_frame
from internimage.driving.data.frames import NUSCENES_CAMERAS, NUSCENES_CLASSES, Frames
from internimage.driving.data.preparing import (
    befores,
    grid_mask,
    queue,
    read_cameras,
    training_boxes,
    vary_colours,
    with_hue,
    with_saturation,
)
from internimage.driving.data.tables.scenes import nuscenes_splits
from internimage.driving.geometry.poses import wrapped
from internimage.errors import ConfigError, DataError, ImageReadError
from internimage.images import FitPreprocessing
from internimage.settings.data import DataOptions

DROP = DataOptions(bad_entries="drop")
Data = dict[str, Any]


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Frames, list[Data]]:
    data = released()
    root = write_drives(tmp_path_factory.mktemp("drives"), data)
    return nuscenes.read_parts(root)["all"], data["infos"]


def test_frames_are_those_of_the_released_converter(drives: tuple[Frames, list[Data]]) -> None:
    part, infos = drives
    assert set(part.classes) < set(NUSCENES_CLASSES)
    assert not part.listed
    for frame, info in zip(part.frames, infos, strict=True):
        assert (frame.token, frame.time, frame.previous or "") == (info["token"], info["timestamp"], info["prev"])
        assert [one.channel for one in frame.cameras] == info["cams"] == list(NUSCENES_CAMERAS)
        for camera, expected in zip(frame.cameras, np.array(info["lidar2img"]), strict=True):
            assert np.abs(camera.lidar_to_pixels - expected).max() < 1e-9 * np.abs(expected).max()
        can_bus = np.array(info["can_bus"])  # with four times w for the rotation
        assert np.allclose(can_bus[:3], frame.ego.translation, atol=1e-9)
        assert np.allclose(can_bus[3:7], frame.ego.quaternion[0], atol=1e-9)
        assert np.allclose(can_bus[7:16], frame.imu_after, atol=1e-12)
        assert np.allclose(can_bus[16], frame.ego.yaw % (2 * np.pi), atol=1e-9)


def test_boxes_are_those_of_the_released_converter(drives: tuple[Frames, list[Data]]) -> None:
    part, infos = drives
    for frame, info in zip(part.frames, infos, strict=True):
        assert frame.truth is not None
        names = [part.classes[one] if one >= 0 else "animal" for one in frame.truth.labels]
        assert names == info["gt_names"]
        boxes, expected = frame.truth.upright(frame.lidar_to_global), np.array(info["gt_boxes"])
        assert np.allclose(np.hstack([boxes.centres, boxes.sizes]), expected[:, :6], atol=1e-9)
        assert np.abs(wrapped(boxes.yaws + np.pi / 2 + expected[:, 6])).max() < 1e-9
        assert np.allclose(boxes.velocities, np.array(info["gt_velocity"], float), atol=1e-5, equal_nan=True)
        assert ((frame.truth.points > 0) == info["valid"]).all()
        learnt = np.array(info["training_boxes_bottom"], float)[np.array(info["training_labels"]) >= 0]
        boxes = training_boxes(frame, (-51.2, -51.2, 51.2, 51.2))
        assert [NUSCENES_CLASSES.index(part.classes[one]) for one in boxes.labels] == [
            one for one in info["training_labels"] if one >= 0
        ]
        bottom = boxes.centres - np.outer(boxes.sizes[:, 2] / 2, (0, 0, 1))
        found = np.hstack([bottom, boxes.sizes, np.nan_to_num(boxes.velocities)])
        assert np.allclose(found, np.delete(learnt, 6, axis=1), atol=1e-5)


def test_motion_is_that_of_the_record_before_or_after(drives: tuple[Frames, list[Data]]) -> None:
    records = released()["can_bus"]["scene-9003"]
    for frame in drives[0].frames:
        if frame.scene != "scene-9003":  # nothing was recorded
            assert not frame.imu.any()
            continue
        before = [one for one in records if one["utime"] <= frame.time][-1:] or records[:1]
        assert frame.imu.tolist() == [*before[0]["accel"], *before[0]["rotation_rate"], *before[0]["vel"]]
    assert any("without can_bus" in note for note in drives[0].notes)


def _set(table: str, number: int, **values: Any) -> Callable[[Data], None]:
    return lambda tables: tables[table][number].update(values)


def _without_cameras(tables: Data) -> None:
    token = tables["sample"][2]["token"]
    tables["sample_data"] = [
        one for one in tables["sample_data"] if one["sample_token"] != token or "LIDAR" in one["filename"]
    ]


NAN = [float("nan"), 0, 0]
BROKEN = [  # what is done, what is said, frames and objects that are left
    (_set("sample", 1, scene_token="lost"), "scene_token 'lost' is no record of scene.json", 7, 48),
    (_set("sample", 1, timestamp=1), "is not after", 7, 48),
    (_set("sample", 1, prev="lost"), "prev 'lost' is no record of sample.json", 7, 48),
    (_set("sample", 1, timestamp="noon"), "Expected `int`, got `str` - at `$.timestamp`", 7, 48),
    (_without_cameras, "no record of sample_data.json is a camera's picture of it", 7, 48),
    (_set("sample_data", 0, ego_pose_token="lost"), "ego_pose_token 'lost' is no record of ego_pose.json", 7, 48),
    (_set("sample_data", 0, sample_token="lost"), "sample_token 'lost' is no record of sample.json", 8, 48),
    (_set("sample_data", 0, height=0), "height 0 and width 1600; expected those of the picture", 7, 48),
    (_set("sample_data", 0, filename="../../secret.jpg"), "leaves the folder", 7, 48),
    (_set("sample_data", 0, calibrated_sensor_token="lost"), "is no record of calibrated_sensor.json", 7, 48),
    (_set("calibrated_sensor", 0, rotation=[0.5, 0, 0, 0]), "rotation [0.5, 0.0, 0.0, 0.0]", 0, 48),
    (_set("calibrated_sensor", 0, camera_intrinsic=[[1, 0, 0]]), "expected 3x3 finite numbers", 0, 48),
    (_set("calibrated_sensor", 0, sensor_token="lost"), "sensor_token 'lost' is no record of sensor.json", 8, 48),
    (_set("ego_pose", 0, translation=NAN), "is no rotation; expected a quaternion", 7, 48),
    (_set("ego_pose", 0, rotation=[1, 0, 0]), "Expected `array` of length 4", 7, 48),
    (_set("sample_annotation", 0, translation=NAN), "expected finite numbers, and a rotation", 8, 47),
    (_set("sample_annotation", 0, rotation=[0, 0, 0, 0]), "rotation (0.0, 0.0, 0.0, 0.0)", 8, 47),
    (_set("sample_annotation", 0, sample_token="lost"), "sample_token 'lost' is no record of sample.json", 8, 47),
    (_set("sample_annotation", 0, instance_token="lost"), "is no record of instance.json", 8, 47),
    (_set("sample_annotation", 0, attribute_tokens=["lost"]), "the first is no record of attribute.json", 8, 48),
    (_set("sample_annotation", 0, next="lost"), "names 'lost' as the one before or after it", 8, 48),
    (_set("instance", 0, category_token="lost"), "category_token 'lost' is no record of category.json", 8, 44),
]


@pytest.mark.parametrize(("break_it", "said", "frames", "boxes"), BROKEN, ids=[said for _, said, *_ in BROKEN])
def test_broken_records_are_named_and_can_be_left_out(
    tmp_path: Path, break_it: Callable[[Data], None], said: str, frames: int, boxes: int
) -> None:
    data = released()
    break_it(data["tables"])
    root = write_drives(tmp_path, data)
    with pytest.raises(DataError) as error:
        nuscenes.read_parts(root)
    assert said in str(error.value)
    assert str(root) in str(error.value)
    part = nuscenes.read_parts(root, None, DROP)["all"]
    assert len(part) == len(list(part.frames)) == frames
    unusable = [one for one in part.left_out if one.reason == UNUSABLE]
    assert any(said in text for one in unusable for text in one.names)
    if frames == 8:
        assert sum(len(one.truth or ()) for one in part.frames) == boxes


@pytest.mark.parametrize(
    ("table", "text", "said"),
    [
        ("sensor", None, "has no sensor.json; expected all tables"),
        ("ego_pose", "{}", "ego_pose.json is not readable JSON: it does not begin with a list"),
        ("sample_annotation", '[{"token": "x"', "sample_annotation.json is not readable JSON"),
        ("sample", "[]", "sample.json has no frame of a scene"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, table: str, text: str | None, said: str) -> None:
    root = write_drives(tmp_path, released())
    path = root / VERSION / f"{table}.json"
    if text is None:
        path.unlink()
        assert not nuscenes.recognise(root)
        with pytest.raises(DataError, match="no folder of nuScenes' tables"):
            nuscenes.read_parts(root)
        return
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        nuscenes.read_parts(root, None, DROP)


def test_splits_are_nuscenes_own() -> None:
    splits = nuscenes_splits()
    assert {name: len(one) for name, one in splits.items()} == {
        "train": 700, "val": 150, "test": 150, "mini_train": 8, "mini_val": 2,
    }  # fmt: skip
    assert len(splits["train"] | splits["val"] | splits["test"]) == 1000
    assert splits["mini_val"] == {"scene-0103", "scene-0916"}


@pytest.mark.parametrize(
    ("version", "names", "given", "expected"),
    [
        ("v1.0-mini", ("scene-0061", "scene-0916"), None, {"train": 4, "val": 4}),
        ("v1.0-trainval", ("scene-0001", "scene-0003"), None, {"train": 4, "val": 4}),
        ("v1.0-test", ("scene-0077", "scene-0078"), None, {"test": 8}),
        ("v1.0-world", ("a", "b"), None, {"all": 8}),
        ("v1.0-world", ("scene-0001", "scene-0003"), None, {"all": 8}),
        ("v1.0-world", ("a", "b"), {"validation": ["b"], "train": ["a", "c"]}, {"val": 4, "train": 4}),
        ("v1.0-world", ("a", "b"), {"train": ["b"]}, {"train": 4}),
    ],
)
def test_parts_are_made_of_scenes(
    tmp_path: Path, version: str, names: tuple[str, str], given: Any, expected: dict[str, int]
) -> None:
    data = released()
    for scene, name in zip(data["tables"]["scene"], names, strict=True):
        scene["name"] = name
    root = write_drives(tmp_path, data, version)
    if given is not None:
        (root / "splits.json").write_text(json.dumps(given))
    parts = nuscenes.read_parts(root)
    assert {name: len(part) for name, part in parts.items()} == expected
    assert nuscenes.estimate(root, 99) == expected.get("train", next(iter(expected.values())))
    for name, part in parts.items():
        assert list(nuscenes.read_parts(root, name)) == [name]
        assert part.frames[0].previous is None
        assert any("of no part" in note for note in part.notes) == (sum(expected.values()) < 8)


def test_whole_scenes_are_set_aside(drives: tuple[Frames, list[Data]]) -> None:
    splits = make_splits({"all": drives[0]}, Path())
    train, val = splits.train, splits.val
    assert [len({one.scene for one in part.frames}) for part in (train, val)] == [1, 1]
    assert {one.token for part in (train, val) for one in part.frames} == {one.token for one in drives[0].frames}
    with pytest.raises(DataError, match="has one sequence; expected two"):
        make_splits({"all": train}, Path())


def test_classes_are_numbered_anew(drives: tuple[Frames, list[Data]]) -> None:
    part = drives[0]
    shown = [part.classes[number] for number in part.used()]
    found = part.with_classes(("kite", *reversed(shown)))
    for before, frame in zip(part.frames, found.frames, strict=True):
        names = [part.classes[one] for one in before.boxes.labels]
        assert [found.classes[one] for one in frame.boxes.labels] == names
    assert [one.token for one in found.frames[:2]] == [one.token for one in part.frames[:2]]
    with pytest.raises(DataError, match="are not among kite"):
        part.with_classes(("kite",))


def test_one_of_several_versions_is_read(tmp_path: Path) -> None:
    data = released()
    write_drives(tmp_path, data, "v1.0-mini")
    data["tables"]["sample_annotation"] = []
    write_drives(tmp_path, data, "v1.0-a")
    assert list(nuscenes.readings(tmp_path)) == ["v1.0-mini", "v1.0-a"]
    assert "read as v1.0-mini" in nuscenes.read_parts(tmp_path)["all"].notes[0]
    part = nuscenes.read_parts(tmp_path, None, DataOptions(reading="v1.0-a"))["all"]
    assert part.frames[0].truth is None
    assert any("nobody annotated" in note for note in part.notes)
    with pytest.raises(ConfigError, match=r"v1.0-b.*it has v1.0-mini, v1.0-a"):
        nuscenes.read_parts(tmp_path, None, DataOptions(reading="v1.0-b"))


def test_a_part_of_a_download_is_read(tmp_path: Path) -> None:
    data = released()
    root = write_drives(tmp_path, data)
    for record in data["tables"]["sample_data"]:
        if record["sample_token"] in {one["token"] for one in data["tables"]["sample"][:3]}:
            (root / record["filename"]).unlink(missing_ok=True)
    part = nuscenes.read_parts(root)["all"]
    assert len(part) == 5
    assert any("3 of 8 frames left out: none of their pictures is there" in str(one) for one in part.left_out)


def test_no_lidar_and_other_cameras(tmp_path: Path) -> None:
    data = released()
    for sensor in data["tables"]["sensor"]:
        sensor["channel"] = sensor["channel"].replace("CAM_BACK", "REAR")
        sensor["modality"] = sensor["modality"].replace("lidar", "radar")
    part = nuscenes.read_parts(write_drives(tmp_path, data))["all"]
    frame = part.frames[0]
    assert [one.channel for one in frame.cameras] == [*NUSCENES_CAMERAS[:3], "REAR", "REAR_LEFT", "REAR_RIGHT"]
    assert np.allclose(frame.lidar([[0, 1, 0]]), [[1, 0, 0]])  # forward
    assert any("no lidar" in note for note in part.notes)


def test_columns_are_kept_while_the_tables_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERNIMAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "LARGE", 0)
    data = released()
    root = write_drives(tmp_path / "drives", data)
    first = nuscenes.read_parts(root)["all"]
    table = root / VERSION / "sample_annotation.json"
    state, text = table.stat(), table.read_bytes()
    table.write_bytes(b" " * len(text))  # not looked at
    os.utime(table, ns=(state.st_atime_ns, state.st_mtime_ns))
    second = nuscenes.read_parts(root)["all"]
    assert [one.token for one in second.frames] == [one.token for one in first.frames]
    assert np.array_equal(second.frames[1].boxes.velocities, first.frames[1].boxes.velocities, equal_nan=True)
    os.utime(table)
    with pytest.raises(DataError, match="sample_annotation"):
        nuscenes.read_parts(root)


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
@pytest.mark.parametrize("text", ["[]", ' [ {"a": 1}, {"a": "},{"}, {"a": [{"b": 2}]}\n, {"a": null} ] '])
def test_lists_are_read_in_pieces(tmp_path: Path, text: str, size: int) -> None:
    path = tmp_path / "list.json"
    path.write_text(text)
    assert [one for piece in read_list(path, json.loads, size) for one in piece.content] == json.loads(text)
    path.write_text(text + "x")
    with pytest.raises(DataError, match="not readable JSON"):
        list(read_list(path, json.loads, size))


def test_pictures_come_with_their_projections(drives: tuple[Frames, list[Data]]) -> None:
    frame = drives[0].frames[0]
    cameras = tuple(replace(one, size=(9, 16)) for one in frame.cameras if one.channel != "CAM_BACK")
    small = FitPreprocessing(short=5, long=8, mean=(10.0, 20.0, 30.0), std=(2.0, 2.0, 2.0))
    pictures, projections = read_cameras(replace(frame, cameras=cameras), ("CAM_BACK", "CAM_FRONT"), small)
    assert pictures[0] is None
    assert not projections[0].any()
    assert pictures[1] is not None
    assert pictures[1].shape == (3, 5, 8)
    assert np.allclose(pictures[1].mean(axis=(1, 2)), ((90 - 10) / 2, (120 - 20) / 2, (60 - 30) / 2), atol=1)
    whole = cameras[0].lidar_to_pixels
    assert np.array_equal(projections[1], np.diag([8 / 16, 5 / 9, 1, 1]) @ whole)
    varied, _ = read_cameras(replace(frame, cameras=cameras), ("CAM_FRONT",), small, np.random.default_rng(1))
    plain = pictures[1] * 2 + np.array([10, 20, 30])[:, None, None]
    expected = vary_colours(plain.astype(np.float32), np.random.default_rng(1))
    assert varied[0] is not None
    assert np.allclose(varied[0] * 2 + np.array([10, 20, 30])[:, None, None], expected, atol=1e-3)
    with pytest.raises(ImageReadError, match="16x9 pixels; the data say 1600x900"):
        read_cameras(frame, ("CAM_FRONT",), small)


def test_colours_are_those_of_hsv() -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 6, 5)).astype(np.float32)
    pixels[:, 0] = [[7] * 5, [7] * 5, [9] * 5]
    pixels[:, 1, 0] = 50
    found = with_hue(with_saturation(pixels, 0.6), -17)
    for y, x in np.ndindex(6, 5):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixels[:, y, x].astype(float))
        expected = colorsys.hsv_to_rgb((hue - 17 / 360) % 1, saturation * 0.6, value)
        assert np.allclose(found[:, y, x], expected, atol=1e-2)
    changed = [vary_colours(pixels, np.random.default_rng(seed)) for seed in range(200)]
    same = np.mean([np.array_equal(one, pixels) for one in changed])
    assert 0.002 < same < 0.12  # 2^-5, and some orders of channels are no change


def test_queues_end_with_the_frame(drives: tuple[Frames, list[Data]]) -> None:
    left_out = set()
    for seed in range(50):
        found = queue(10, 4, np.random.default_rng(seed))
        assert found[-1] == 10
        assert found == sorted(set(found))
        left_out |= {6, 7, 8, 9} - set(found)
        assert len(found) == 4
    assert left_out == {6, 7, 8, 9}
    assert queue(0, 3, np.random.default_rng(0)) == [0, 0, 0]
    assert queue(7, 1, np.random.default_rng(0)) == [7]
    frames = drives[0].frames
    some = frames[2:6]  # the scene changes in the middle
    assert befores(some) == [None, some[0], None, some[2]]


@pytest.mark.parametrize("seed", range(6))
def test_grid_mask_is_stripe_by_stripe(seed: int) -> None:
    found, random = grid_mask(48, 80, np.random.RandomState(seed)), np.random.RandomState(seed)
    if random.rand() > 0.7:
        assert found is None
        return
    period = random.randint(2, 48)
    offsets = random.randint(period), random.randint(period)
    length = min(max(int(period * 0.5 + 0.5), 1), period - 1)
    canvas = np.zeros((72, 120))
    for number in range(72 // period):
        canvas[offsets[0] + period * number :][:length] = 1
    for number in range(120 // period):
        canvas[:, offsets[1] + period * number :][:, :length] = 1
    assert np.array_equal(found, canvas[12:60, 20:100])


@pytest.mark.full
def test_grid_mask_is_the_released_one(shared: Path) -> None:
    golden = np.load(shared / "goldens" / "driving" / "geometry.npz")
    for seed in range(6):
        height, width = golden[f"gridmask.seed{seed}.shape"]
        expected = np.unpackbits(golden[f"gridmask.seed{seed}.packed"])[: height * width].reshape(height, width)
        found = grid_mask(int(height), int(width), np.random.RandomState(seed))
        assert np.array_equal(np.ones_like(expected) if found is None else found, expected)


@pytest.mark.full
def test_the_real_frame_projects_as_its_own_file_says(shared: Path) -> None:
    root = shared / "data" / "nuscenes_frame"
    assert single_frame.recognise(root)
    assert single_frame.estimate(root, 9) == 1
    part = single_frame.read_parts(root)["all"]
    (frame,) = part.frames
    assert part.classes == NUSCENES_CLASSES
    assert part.listed
    assert frame.truth is not None
    boxes = frame.truth.upright(frame.lidar_to_global)
    entry = json.loads((root / "frame.json").read_text())["data_list"][0]
    boxes_then = np.array([one["bbox_3d"] for one in entry["instances"]])
    assert np.allclose(np.hstack([boxes.centres, boxes.sizes[:, [1, 0, 2]]]), boxes_then[:, :6], atol=1e-6)
    assert np.abs(wrapped(boxes.yaws - boxes_then[:, 6])).max() < 1e-6
    for camera in frame.cameras:  # its own projections, of the boxes that it says are in the picture
        flat = np.hstack([boxes.centres, np.ones((len(boxes), 1))]) @ camera.lidar_to_pixels.T
        places = np.hstack([flat[:, :2] / flat[:, 2:3], flat[:, 2:3]])
        for one in entry["cam_instances"][camera.channel]:
            expected = np.array([*one["center_2d"], one["depth"]])
            assert np.abs(places - expected).max(axis=1).min() < 0.5


def test_a_frame_file_is_read_or_refused(tmp_path: Path, drives: tuple[Frames, list[Data]]) -> None:
    frame = drives[0].frames[0]
    images = {
        one.channel: {
            "img_path": str(one.file.relative_to(one.file.parents[2])) if isinstance(one.file, Path) else "",
            "cam2img": one.intrinsic.tolist(),
            "lidar2cam": one.pose.inverse.matrix.tolist(),
            "timestamp": one.time / 1e6,
        }
        for one in frame.cameras
    }
    entry: Data = {
        "token": "t",
        "timestamp": frame.time / 1e6,
        "ego2global": frame.ego.matrix.tolist(),
        "images": images,
        "lidar_points": {"lidar2ego": frame.lidar.matrix.tolist()},
        "instances": [
            {"bbox_label_3d": 1, "bbox_3d": [1, 2, 0, 4, 2, 1.5, 0.3], "velocity": [1, 0], "num_lidar_pts": 3},
            {"bbox_label_3d": -1, "bbox_3d": [1, 2, 0, 4, 2, 1.5, 0.3]},
        ],
    }
    content = {"metainfo": {"categories": {"truck": 0, "car": 1, "kite": 2}}, "data_list": [entry]}
    path = tmp_path / "frame.json"
    assert isinstance(frame.cameras[0].file, Path)
    (tmp_path / "samples").symlink_to(frame.cameras[0].file.parents[1])
    path.write_text(json.dumps(content))
    part = single_frame.read_parts(tmp_path)["all"]
    assert part.classes == ("car", "truck", "kite")
    assert np.allclose(part.frames[0].cameras[3].lidar_to_pixels, frame.cameras[3].lidar_to_pixels)
    boxes = part.frames[0].boxes
    assert boxes.labels.tolist() == [0]
    assert boxes.sizes.tolist() == [[2, 4, 1.5]]
    assert np.allclose([*boxes.centres[0], *boxes.yaws], [1, 2, 0, 0.3])
    assert np.allclose(boxes.velocities, [[1, 0]], atol=1e-3)  # the map's plane is not the tilted lidar's
    for key, value, said in (
        ("ego2global", [[1]], "shape"),
        ("images", {}, "images is empty"),
        ("token", 3, "Expected `str`"),
    ):
        content["data_list"] = [entry, {**entry, key: value}]
        path.write_text(json.dumps(content))
        with pytest.raises(DataError, match=said) as error:
            single_frame.read_parts(tmp_path)
        assert "data_list[1]" in str(error.value)
        assert len(single_frame.read_parts(tmp_path, None, DROP)["all"]) == 1
