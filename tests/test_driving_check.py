"""What is found wrong or odd about drives with boxes, each thing alone in sound data."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from helpers.drives import released, write_drives

from internimage.data.checking import look_over
from internimage.driving.boxes3d.check import boxes_sheet, check_frames
from internimage.driving.data import nuscenes
from internimage.driving.data.frames import Camera, Frame, Frames
from internimage.driving.geometry.poses import Pose
from internimage.settings.data import DataOptions
from internimage.writing import json_text


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """The first scene, with pictures of 1600x900 that hold one colour."""
    data = released()
    part = nuscenes.read_parts(write_drives(tmp_path_factory.mktemp("drives"), data, size=(1600, 900)))["all"]
    return part.with_entries(part.frames[:4], "drives")


def test_sound_drives_have_no_errors(sound: Frames) -> None:
    findings = check_frames(sound)
    assert not findings.errors
    assert (findings.scenes, findings.frames, findings.cameras) == (1, 4, {6: 4})
    assert sum(findings.counts.values()) == findings.boxes == sum(len(one.boxes) for one in sound.frames)
    unknown = sum(np.isnan(one.boxes.velocities).any(axis=1).sum() for one in sound.frames)
    text = "\n".join(findings.lines("train"))
    assert text.startswith(f"train: 1 scene, 4 frames, {findings.boxes} boxes, 7 classes\n  car ")
    assert f"boxes of unknown velocity: {unknown} of {findings.boxes}" in text
    assert asdict(findings)["counts"] == findings.counts
    assert json_text(asdict(findings))


def _camera(**values: object) -> Callable[[Frame], Frame]:
    def change(frame: Frame) -> Frame:
        return replace(frame, cameras=(replace(frame.cameras[0], **values), *frame.cameras[1:]))  # type: ignore[arg-type]

    return change


def _turned_away(frame: Frame) -> Frame:
    """Every camera high above, looking up."""
    up = Pose(np.diag([1.0, 1.0, 1.0]), np.array([0.0, 0.0, 100.0]))
    return replace(frame, cameras=tuple(replace(one, pose=up) for one in frame.cameras))


def _large(frame: Frame) -> Frame:
    assert frame.truth is not None
    sizes = frame.truth.sizes.copy()
    sizes[frame.truth.labels >= 0] = (61, 2, 2)
    return replace(frame, truth=replace(frame.truth, sizes=sizes))


def _intrinsic(row: int, column: int, value: float) -> Callable[[Frame], Frame]:
    def change(frame: Frame) -> Frame:
        intrinsic = frame.cameras[0].intrinsic.copy()
        intrinsic[row, column] = value
        return _camera(intrinsic=intrinsic)(frame)

    return change


SQUEEZED = Pose(np.diag([1.0, 0.5, 1.0]), np.zeros(3))
FAR = Pose(np.eye(3), np.array([1e6, 0, 0]))


@pytest.mark.parametrize(
    ("change", "said", "error"),
    [
        (_camera(file=Path("lost.jpg")), "missing: lost.jpg", True),
        (_camera(file=Path(__file__)), "cannot be read: ", True),
        (_camera(size=(450, 800)), "1600x900 pixels; the data say 800x450", True),
        (_intrinsic(0, 0, -5.0), "focal lengths -5 and 1266; expected above 0", True),
        (_intrinsic(1, 2, 4000.0), "principal point 800, 4000 outside the picture", True),
        (_camera(pose=SQUEEZED), "calibration: CAM_FRONT of ", True),
        (lambda frame: replace(frame, lidar=SQUEEZED), "calibration: lidar of ", True),
        (_turned_away, "boxes behind every camera: 7 of ", False),
        (_large, " m (width, length, height)", True),
        (lambda frame: replace(frame, time=frame.time - 10**6), "time runs backwards: scene-9003", True),
        (lambda frame: replace(frame, time=frame.time + 10**7), "s after the one in front of it", True),
        (lambda frame: replace(frame, ego=FAR), "the vehicle jumps: scene-9003", True),
        (lambda frame: replace(frame, cameras=frame.cameras[1:]), ": no CAM_FRONT", False),
        (lambda frame: replace(frame, scene="other"), "one frame only: other", False),
        (lambda frame: replace(frame, truth=None), "frames without annotation: 1", False),
        (lambda frame: replace(frame, truth=frame.truth and frame.truth.chosen([])), "frames without boxes: 1", False),
    ],
)
def test_what_is_wrong_is_found(sound: Frames, change: Callable[[Frame], Frame], said: str, error: bool) -> None:
    frames = list(sound.frames)
    frames[2] = change(frames[2])
    findings = check_frames(sound.with_entries(frames, "drives"))
    assert said in "\n".join(findings.lines("drives"))
    assert findings.errors == error


def test_most_boxes_behind_every_camera_are_an_error(sound: Frames) -> None:
    findings = check_frames(sound.with_entries([_turned_away(one) for one in sound.frames], "drives"))
    assert findings.errors
    assert "(100%); unusual" in "\n".join(findings.lines("drives"))


def test_unusable_records_are_among_all_findings(tmp_path: Path) -> None:
    data = released()
    data["tables"]["ego_pose"][0]["rotation"] = [2, 0, 0, 0]
    root = write_drives(tmp_path, data)
    parts = nuscenes.read_parts(root, None, DataOptions(bad_entries="drop", allow_left_out=True))
    found, _ = look_over(parts, DataOptions())
    assert found["all"].errors
    assert "rotation [2.0, 0.0, 0.0, 0.0]" in "\n".join(found["all"].lines())


def test_a_sheet_shows_first_and_last(sound: Frames) -> None:
    sheet = boxes_sheet(sound, 2)
    assert sheet.width > 1600
    assert boxes_sheet(sound.with_entries([], "none")).width
    assert isinstance(sound.frames[0].cameras[0], Camera)
