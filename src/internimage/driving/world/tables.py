"""The tables of the drawn world as nuScenes lays them out: 13 lists of records that name each other by tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np

from internimage.driving.geometry.boxes import in_global
from internimage.driving.geometry.poses import Array, Pose
from internimage.driving.world.painting import Painting, View
from internimage.driving.world.rig import LIDAR
from internimage.driving.world.scene import FRAME_SECONDS, Scene
from internimage.driving.world.things import KINDS

Record: TypeAlias = dict[str, Any]

LIDAR_CHANNEL = "LIDAR_TOP"
NAMES = (
    *("scene", "sample", "sample_data", "calibrated_sensor", "ego_pose", "sensor", "sample_annotation", "instance"),
    *("category", "attribute", "visibility", "log", "map"),
)
_ATTRIBUTES = (
    *("vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider", "cycle.without_rider"),
    *("pedestrian.sitting_lying_down", "pedestrian.standing", "pedestrian.moving"),
)
_LEVELS = ("v0-40", "v40-60", "v60-80", "v80-100")
_BEGINNING = 1_600_000_000_000_000  # microseconds
_APART = 1_000_000_000  # from scene to scene
_PIXELS_A_POINT = 16.0  # of a picture 400 wide


def scene_name(seed: int) -> str:
    """As nuScenes names scenes: "scene-0103"."""
    return f"scene-{seed:04d}"


def location(seed: int) -> str:
    """Where a scene's drive took place: each has a road, and so a map, of its own."""
    return f"drawn-{scene_name(seed)}"


def microseconds(seed: int, time: float) -> int:
    """A time in seconds of a scene, as a time stamp; scenes do not overlap."""
    return _BEGINNING + seed * _APART + round(time * 1e6)


def token(*parts: object) -> str:
    """32 hexadecimal digits that the parts alone decide."""
    return blake2b("/".join(map(str, parts)).encode(), digest_size=16).hexdigest()


@dataclass
class Tables:
    """The tables while they grow.

    Attributes:
        rows: records by the table's name.
    """

    rows: dict[str, list[Record]] = field(default_factory=lambda: {name: [] for name in NAMES})

    def begin(self, views: Sequence[View]) -> None:
        """What all scenes share."""
        for name, kind in KINDS.items():
            self.rows["category"].append(
                {"token": token("category", name), "name": kind.category, "description": f"drawn: {name}"}
            )
        for name in _ATTRIBUTES:
            self.rows["attribute"].append({"token": token("attribute", name), "name": name, "description": ""})
        for number, level in enumerate(_LEVELS, start=1):
            self.rows["visibility"].append({"token": str(number), "level": level, "description": ""})
        self.rows["sensor"].append(
            {"token": token("sensor", LIDAR_CHANNEL), "channel": LIDAR_CHANNEL, "modality": "lidar"}
        )
        self._calibrate(LIDAR_CHANNEL, LIDAR, [])
        for view in views:
            channel = view.camera.channel
            self.rows["sensor"].append({"token": token("sensor", channel), "channel": channel, "modality": "camera"})
            self._calibrate(channel, view.camera.pose, view.intrinsic.tolist())

    def _calibrate(self, channel: str, pose: Pose, intrinsic: list[list[float]]) -> None:
        self.rows["calibrated_sensor"].append(
            {
                "token": token("calibrated_sensor", channel),
                "sensor_token": token("sensor", channel),
                "translation": pose.translation.tolist(),
                "rotation": pose.quaternion.tolist(),
                "camera_intrinsic": intrinsic,
            }
        )

    def add_scene(self, scene: Scene, frames: int) -> None:
        """A scene with its log, map and the instances of its things."""
        name = scene_name(scene.seed)
        log = token(name, "log")
        self.rows["scene"].append(
            {
                "token": token(name),
                "log_token": log,
                "nbr_samples": frames,
                "first_sample_token": token(name, "sample", 0),
                "last_sample_token": token(name, "sample", frames - 1),
                "name": name,
                "description": f"drawn from seed {scene.seed}",
            }
        )
        self.rows["log"].append(
            {
                "token": log,
                "logfile": "",
                "vehicle": "drawn",
                "date_captured": "2020-09-13",
                "location": location(scene.seed),
            }
        )
        self.rows["map"].append(
            {"token": token(name, "map"), "log_tokens": [log], "category": "semantic_prior", "filename": ""}
        )
        for number, thing in enumerate(scene.things):
            self.rows["instance"].append(
                {
                    "token": token(name, "instance", number),
                    "category_token": token("category", thing.kind),
                    "nbr_annotations": frames,
                    "first_annotation_token": token(name, "annotation", number, 0),
                    "last_annotation_token": token(name, "annotation", number, frames - 1),
                }
            )

    def add_frame(self, scene: Scene, number: int, frames: int, files: dict[str, tuple[str, tuple[int, int]]]) -> None:
        """A sample with its sensor data; ``files`` gives (path, (height, width)) by channel."""
        name, time = scene_name(scene.seed), number * FRAME_SECONDS
        stamp = microseconds(scene.seed, time)
        self.rows["sample"].append(
            {
                "token": token(name, "sample", number),
                "timestamp": stamp,
                "scene_token": token(name),
                **_neighbours(frames, number, name, "sample"),
            }
        )
        pose = scene.to_global @ scene.ego.pose(time)
        for channel, (path, (height, width)) in files.items():
            data = token(name, channel, number)
            self.rows["ego_pose"].append(
                {
                    "token": data,
                    "timestamp": stamp,
                    "rotation": pose.quaternion.tolist(),
                    "translation": pose.translation.tolist(),
                }
            )
            self.rows["sample_data"].append(
                {
                    "token": data,
                    "sample_token": token(name, "sample", number),
                    "ego_pose_token": data,
                    "calibrated_sensor_token": token("calibrated_sensor", channel),
                    "timestamp": stamp,
                    "fileformat": "pcd" if channel == LIDAR_CHANNEL else "jpg",
                    "is_key_frame": True,
                    "height": height,
                    "width": width,
                    "filename": path,
                    **_neighbours(frames, number, name, channel),
                }
            )

    def add_boxes(self, scene: Scene, number: int, frames: int, paintings: Sequence[Painting]) -> None:
        """The annotations of a sample."""
        name, count = scene_name(scene.seed), len(scene.things)
        boxes = in_global(scene.boxes(number * FRAME_SECONDS), scene.to_global, [one.attribute for one in scene.things])
        points, shares = _seen(paintings, count)
        for index in range(count):
            attribute = boxes.attributes[index]
            self.rows["sample_annotation"].append(
                {
                    "token": token(name, "annotation", index, number),
                    "sample_token": token(name, "sample", number),
                    "instance_token": token(name, "instance", index),
                    "visibility_token": str(1 + int(np.searchsorted([0.4, 0.6, 0.8], shares[index], side="right"))),
                    "attribute_tokens": [token("attribute", attribute)] if attribute else [],
                    "translation": boxes.centres[index].tolist(),
                    "size": boxes.sizes[index].tolist(),
                    "rotation": boxes.rotations[index].tolist(),
                    "num_lidar_pts": int(points[index]),
                    "num_radar_pts": 0,
                    **_neighbours(frames, number, name, "annotation", index),
                }
            )


def can_bus(scene: Scene, frames: int) -> list[Record]:
    """Motion of the vehicle at 50 Hz, from shortly before the first frame to shortly after the last."""
    records = []
    for step in range(-10, round((frames - 1) * FRAME_SECONDS * 50) + 11):
        time = step / 50 + 0.003  # no record falls on a frame
        pose = scene.to_global @ scene.ego.pose(time)
        acceleration, rate, velocity = scene.ego.imu(time)
        records.append(
            {
                "utime": microseconds(scene.seed, time),
                "accel": acceleration.tolist(),
                "orientation": pose.quaternion.tolist(),
                "pos": pose.translation.tolist(),
                "rotation_rate": rate.tolist(),
                "vel": velocity.tolist(),
            }
        )
    return records


def _neighbours(frames: int, number: int, *parts: object) -> Record:
    """Tokens of the same thing in the frames before and after; "" at the ends."""
    return {
        "prev": token(*parts, number - 1) if number else "",
        "next": token(*parts, number + 1) if number + 1 < frames else "",
    }


def _seen(paintings: Sequence[Painting], count: int) -> tuple[Array, Array]:
    """For each thing a number of points, by its pixels and 0 only if it has none, and how much of it is not covered."""
    pixels, outlines = np.zeros(count), np.zeros(count)
    for painting in paintings:
        owners = painting.owner[painting.owner >= 0]
        found = np.bincount(owners, minlength=count)[:count] * (400 / painting.owner.shape[1]) ** 2
        pixels += found
        outlines += painting.outlines[:count] * (400 / painting.owner.shape[1]) ** 2
    return np.ceil(pixels / _PIXELS_A_POINT), pixels / np.maximum(outlines, 1e-9)
