"""Cameras of the drawn world: pinholes without distortion, rounded from what is published of two real vehicles."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np

from internimage.driving.data.frames import NUSCENES_CAMERAS
from internimage.driving.geometry.poses import Array, Pose

LIDAR = Pose(np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.array([0.94, 0.0, 1.84]))
"""Lidar (x right, y forward) to ego (x forward, y left)."""


@dataclass(frozen=True)
class RigCamera:
    """A camera that looks level.

    Attributes:
        channel: its name.
        yaw: where it looks, degrees counter-clockwise from ahead.
        place: x, y, z in the ego frame, metres.
        focal: length in pixels at full size.
        centre: principal point (u, v) at full size.
        size: (width, height) at full size.
    """

    channel: str
    yaw: float
    place: tuple[float, float, float]
    focal: float
    centre: tuple[float, float]
    size: tuple[int, int]

    @property
    def pose(self) -> Pose:
        """Camera (x right, y down, z forward) to ego."""
        c, s = cos(radians(self.yaw)), sin(radians(self.yaw))
        return Pose(np.array([[s, 0.0, c], [-c, 0.0, s], [0.0, -1.0, 0.0]]), np.array(self.place))

    def scaled(self, scale: float) -> tuple[tuple[int, int], Array]:
        """(height, width) of a smaller picture, at least one pixel, and its (3, 3) intrinsic matrix."""
        width, height = (max(1, round(side * scale)) for side in self.size)
        x, y = width / self.size[0], height / self.size[1]
        whole = [[self.focal * x, 0.0, self.centre[0] * x], [0.0, self.focal * y, self.centre[1] * y], [0.0, 0.0, 1.0]]
        return (height, width), np.array(whole)


def _nuscenes() -> tuple[RigCamera, ...]:
    rows = (
        (0, (1.7, 0.0, 1.5), 1266),
        (-56, (1.55, -0.5, 1.5), 1266),
        (56, (1.55, 0.5, 1.5), 1266),
        (180, (0.03, 0.0, 1.5), 809),
        (109, (1.03, 0.48, 1.5), 1266),
        (-111, (1.03, -0.48, 1.5), 1266),
    )
    return tuple(
        RigCamera(channel, yaw, place, focal, (800, 491), (1600, 900))
        for channel, (yaw, place, focal) in zip(NUSCENES_CAMERAS, rows, strict=True)
    )


def _argoverse() -> tuple[RigCamera, ...]:
    rows = (
        ("ring_front_center", 0, (1.6, 0.0)),
        ("ring_front_left", 45, (1.55, 0.2)),
        ("ring_front_right", -45, (1.55, -0.2)),
        ("ring_side_left", 99, (1.3, 0.25)),
        ("ring_side_right", -99, (1.3, -0.25)),
        ("ring_rear_left", 153, (1.1, 0.2)),
        ("ring_rear_right", -153, (1.1, -0.2)),
    )
    cameras = []
    for channel, yaw, (x, y) in rows:
        size = (1550, 2048) if yaw == 0 else (2048, 1550)  # the first alone stands upright
        cameras.append(RigCamera(channel, yaw, (x, y, 1.4), 1685, (size[0] / 2, size[1] / 2), size))
    return tuple(cameras)


NUSCENES_RIG = _nuscenes()
"""Six cameras in the order of the released models."""
ARGOVERSE_RIG = _argoverse()
"""Seven cameras of Argoverse 2 and OpenLane-V2, the portrait one first."""
