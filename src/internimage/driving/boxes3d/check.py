"""Looking over drives with boxes before hours are spent on them.  Reads only.

What contradicts a format outright, such as a quaternion that is none, is found by its reader, and the frames are left
out; what can be read and makes no sense is found here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from internimage.data.checking import count_lines, kind_lines
from internimage.drawing.canvas import INK, MUTED, Colour
from internimage.drawing.charts import contact_sheet
from internimage.driving.data.frames import NUSCENES_CAMERAS, Camera, Frame, Frames
from internimage.driving.drawing.scene import draw_frame
from internimage.driving.geometry.boxes import Boxes
from internimage.driving.geometry.poses import Pose
from internimage.errors import DataError, ImageReadError
from internimage.images.reader import picture_size, thumbnail
from internimage.writing import counted

_LARGEST = 60.0  # metres of a box's side
_FASTEST = 60.0  # metres a second of the vehicle
_LONGEST = 2.0  # seconds between two frames of a scene
_NEAR = 0.1  # metres in front of a camera from which it sees
_SHARE = 0.5
_SHEET = 1600  # pixels of a frame on the sheet


@dataclass
class DrivingFindings:
    """What is wrong or odd about drives with boxes.

    Attributes:
        counts: boxes of each class, by name.
        scenes, frames: how many there are.
        cameras: frames with so many cameras.
        missing: pictures that are not there.
        corrupt: pictures that cannot be read, with the reason.
        wrong_sizes: pictures of another size than the data say, with both.
        calibrations: rotations that are none, focal lengths of zero or less, principal points outside the picture.
        without_camera: frames that lack cameras which others have.
        backwards: frames that are not later than the one before them.
        gaps: frames more than 2 s after the one before them.
        jumps: frames to which the vehicle came at more than 60 m/s.
        single: scenes of one frame, from which nothing is learnt of motion.
        still: scenes of whose motion nothing is recorded.
        sizes: boxes with a side of zero or less, or of more than 60 m.
        behind: boxes whose centres are behind every camera.
        unseen: boxes of which no camera sees the centre or a corner.
        unknown_velocities: boxes whose velocity is not known.
        unannotated: frames in which nobody looked for boxes.
        empty: frames in which somebody looked and found none.
    """

    counts: dict[str, int]
    scenes: int = 0
    frames: int = 0
    cameras: dict[int, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    corrupt: dict[str, str] = field(default_factory=dict)
    wrong_sizes: dict[str, str] = field(default_factory=dict)
    calibrations: list[str] = field(default_factory=list)
    without_camera: list[str] = field(default_factory=list)
    backwards: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    jumps: list[str] = field(default_factory=list)
    single: list[str] = field(default_factory=list)
    still: list[str] = field(default_factory=list)
    sizes: list[str] = field(default_factory=list)
    behind: int = 0
    unseen: int = 0
    unknown_velocities: int = 0
    unannotated: int = 0
    empty: int = 0

    @property
    def boxes(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    @property
    def errors(self) -> bool:
        """Whether training would stumble or learn what is not there."""
        wrong = self.missing or self.corrupt or self.wrong_sizes or self.calibrations or self.backwards or self.jumps
        return bool(wrong or self.sizes or self.behind > _SHARE * self.boxes)

    def lines(self, name: str) -> list[str]:
        """The findings as text, for a part of this name."""
        total = ((self.scenes, "scene"), (self.frames, "frame"), (self.boxes, "box"), (len(self.counts), "class"))
        lines = [f"{name}: {', '.join(counted(number, noun) for number, noun in total)}"]
        lines += count_lines(self.counts) if self.counts else []
        if set(self.cameras) - {len(NUSCENES_CAMERAS)}:
            numbers = ", ".join(f"{frames} with {cameras}" for cameras, frames in sorted(self.cameras.items()))
            lines.append(f"  cameras of the frames: {numbers}; models of nuScenes look through {len(NUSCENES_CAMERAS)}")
        kinds = {
            "missing": self.missing,
            "cannot be read": [f"{path}: {reason}" for path, reason in self.corrupt.items()],
            "wrong size": [f"{path}: {reason}" for path, reason in self.wrong_sizes.items()],
            "calibration": self.calibrations,
            "time runs backwards": self.backwards,
            "the vehicle jumps": self.jumps,
            "size of a box": self.sizes,
            "without a camera": self.without_camera,
            "gap in time": self.gaps,
            "one frame only": self.single,
            "no motion recorded (can_bus)": self.still,
        }
        lines += kind_lines(kinds) + self._shares()
        empty = [name for name, count in self.counts.items() if not count]
        return lines + kind_lines({"empty class": empty})

    def _shares(self) -> list[str]:
        shares = {
            "boxes behind every camera": self.behind,
            "boxes that no camera sees": self.unseen,
            "boxes of unknown velocity": self.unknown_velocities,
        }
        lines = []
        for what, number in shares.items():
            if number:
                share = number / self.boxes
                odd = what != "boxes of unknown velocity" and share > _SHARE
                more = "; unusual: are the poses of the cameras the right way round?" if odd else ""
                lines.append(f"  {what}: {number} of {self.boxes} ({share:.0%}){more}")
        if self.unannotated:
            lines.append(f"  frames without annotation: {self.unannotated}")
        if self.empty:
            lines.append(f"  frames without boxes: {self.empty}")
        return lines


def check_frames(part: Frames, progress: Callable[[Iterable[Frame]], Iterable[Frame]] = iter) -> DrivingFindings:
    """Go through the frames and their pictures once.

    Args:
        part: of a data set.
        progress: wraps the frames.
    """
    findings = DrivingFindings(dict.fromkeys(part.classes, 0), frames=len(part))
    checker = _Checker(findings, part.classes)
    with ThreadPoolExecutor() as pool:
        for frame in progress(part.frames):
            for camera, outcome in zip(frame.cameras, pool.map(_look, frame.cameras), strict=True):
                checker.picture(camera, outcome)
                checker.calibration(frame, camera)
            checker.boxes(frame)
            checker.motion(frame)
    checker.close()
    return findings


def boxes_sheet(part: Frames, count: int = 4) -> Image.Image:
    """A few frames, from the first to the last, each with its cameras, the view from above and the true boxes."""
    numbers = sorted({round(one) for one in np.linspace(0, len(part) - 1, min(count, len(part)))}) if len(part) else []
    pictures: list[tuple[Image.Image, list[tuple[str, Colour]]]] = []
    for number in numbers:
        frame = part.frames[number]
        boxes = frame.boxes
        names = Counter(part.classes[label] for label in boxes.labels)
        text = ", ".join(f"{amount} {name}" for name, amount in names.most_common()) or "no boxes"
        captions = [(text, INK), (f"{frame.scene}, frame {number + 1} of {len(part)}: {frame.token}", MUTED)]
        pictures.append((draw_frame(frame, boxes, part.classes, width=_SHEET), captions))
    scenes = len({frame.scene for frame in part.frames})
    title = f"{part.name}: {counted(scenes, 'scene')}, {counted(len(part), 'frame')}"
    return contact_sheet(pictures, title=title, columns=1, cell=_SHEET)


def _look(camera: Camera) -> tuple[int, int] | ImageReadError | None:
    """(height, width) of a picture that can be read to its end; None for one that is not there."""
    try:
        width, height = picture_size(camera.file)
        thumbnail(camera.file, 8)
    except ImageReadError as error:
        return None if isinstance(camera.file, Path) and not camera.file.exists() else error
    return height, width


class _Checker:
    """Goes from frame to frame."""

    def __init__(self, findings: DrivingFindings, classes: tuple[str, ...]) -> None:
        self._found = findings
        self._classes = classes
        self._before: Frame | None = None
        self._scenes: Counter[str] = Counter()
        self._felt: set[str] = set()
        self._cameras: Counter[int] = Counter()
        self._rigs: dict[frozenset[str], list[str]] = {}
        self._wrong: dict[tuple[str, str], list[str]] = {}  # frames by camera and what is wrong with it

    def picture(self, camera: Camera, outcome: tuple[int, int] | ImageReadError | None) -> None:
        """Whether it is there, whole, and as large as it should be."""
        path = str(camera.file)
        if outcome is None:
            self._found.missing.append(path)
        elif isinstance(outcome, ImageReadError):
            self._found.corrupt[path] = str(outcome).removeprefix(f"{path}: ")
        elif outcome != camera.size:
            (height, width), (told_height, told_width) = outcome, camera.size
            self._found.wrong_sizes[path] = f"{width}x{height} pixels; the data say {told_width}x{told_height}"

    def calibration(self, frame: Frame, camera: Camera) -> None:
        """Whether a camera can be as it is said to be."""
        (x, y), (height, width) = camera.intrinsic[:2, 2], camera.size
        focal = camera.intrinsic[0, 0], camera.intrinsic[1, 1]
        if not min(focal) > 0:
            self._calibration(frame, camera.channel, f"focal lengths {focal[0]:g} and {focal[1]:g}; expected above 0")
        if not (0 <= x <= width and 0 <= y <= height):
            text = f"principal point {x:g}, {y:g} outside the picture of {width}x{height}"
            self._calibration(frame, camera.channel, text)
        for name, pose in ((camera.channel, camera.pose), ("lidar", frame.lidar), ("ego", frame.ego)):
            if (name in (camera.channel,) or camera is frame.cameras[0]) and (wrong := _wrong_pose(pose)):
                self._calibration(frame, name, wrong)

    def boxes(self, frame: Frame) -> None:
        """Their sizes, and whether any camera sees them."""
        if frame.truth is None:
            self._found.unannotated += 1
            return
        boxes = frame.boxes
        self._found.empty += not len(boxes)
        if not len(boxes):
            return
        for label in boxes.labels:
            self._found.counts[self._classes[label]] += 1
        good = ((boxes.sizes > 0) & (boxes.sizes <= _LARGEST)).all(axis=1)
        for number in np.flatnonzero(~good).tolist():
            sides = " x ".join(f"{side:g}" for side in boxes.sizes[number])
            what = self._classes[boxes.labels[number]]
            self._found.sizes.append(f"{frame.token} box {number} ({what}): {sides} m (width, length, height)")
        self._found.unknown_velocities += int(np.isnan(boxes.velocities).any(axis=1).sum())
        behind, seen = _seen(boxes, frame.cameras)
        self._found.behind += int(behind.sum())
        self._found.unseen += int((~seen).sum())

    def motion(self, frame: Frame) -> None:
        """How it follows the frame before it."""
        before, self._before = self._before, frame
        self._scenes[frame.scene] += 1
        self._cameras[len(frame.cameras)] += 1
        self._rigs.setdefault(frozenset(one.channel for one in frame.cameras), []).append(frame.token)
        if frame.imu.any() or frame.imu_after.any():
            self._felt.add(frame.scene)
        if before is None or before.scene != frame.scene:
            return
        apart = (frame.time - before.time) / 1e6
        where = f"{frame.scene}: frame {frame.token}"
        if apart <= 0:
            self._found.backwards.append(f"{where}: {-apart:.3f} s before the one in front of it")
            return
        if apart > _LONGEST:
            self._found.gaps.append(f"{where}: {apart:.1f} s after the one in front of it")
        speed = float(np.linalg.norm(frame.ego.translation - before.ego.translation)) / apart
        if not speed <= _FASTEST:
            self._found.jumps.append(f"{where}: {speed:.0f} m/s from the one in front of it")

    def close(self) -> None:
        """What is known at the end."""
        found = self._found
        found.scenes = len(self._scenes)
        found.cameras = dict(self._cameras)
        found.single = [name for name, count in self._scenes.items() if count == 1]
        found.still = [name for name in self._scenes if name not in self._felt]
        every = frozenset[str]().union(*self._rigs)
        for rig, tokens in self._rigs.items():
            if lacking := sorted(every - rig):
                found.without_camera += [f"{token}: no {', '.join(lacking)}" for token in tokens]
        for (camera, text), tokens in self._wrong.items():
            more = f" and {len(tokens) - 1} more frames" if len(tokens) > 1 else ""
            found.calibrations.append(f"{camera} of {tokens[0]}{more}: {text}")

    def _calibration(self, frame: Frame, camera: str, text: str) -> None:
        self._wrong.setdefault((camera, text), []).append(frame.token)


def _wrong_pose(pose: Pose) -> str:
    try:
        Pose.from_matrix(pose.matrix)
    except DataError as error:
        return str(error)
    return ""


def _seen(boxes: Boxes, cameras: Iterable[Camera]) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Of each box whether its centre is behind every camera, and whether one sees it or one of its corners."""
    points = np.concatenate([boxes.centres[:, None], boxes.corners()], axis=1)
    behind, seen = np.ones(len(boxes), bool), np.zeros(len(boxes), bool)
    for camera in cameras:
        flat = points @ camera.lidar_to_pixels[:3, :3].T + camera.lidar_to_pixels[:3, 3]
        depths = flat[..., 2]
        behind &= depths[:, 0] <= 0
        with np.errstate(divide="ignore", invalid="ignore"):
            places = flat[..., :2] / depths[..., None]
        height, width = camera.size
        inside = (depths > _NEAR) & (places >= 0).all(axis=-1) & (places < (width, height)).all(axis=-1)
        seen |= inside.any(axis=1)
    return behind, seen
