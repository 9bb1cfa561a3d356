"""How the vehicle moved between two frames, as networks with a history are told (BEVFormer, Li et al., 2022)."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING, Literal

import numpy as np

from internimage.driving.geometry.poses import Array, Pose

if TYPE_CHECKING:
    from internimage.driving.data.frames import Frame

CAN_BUS = 18
"""Numbers that the motion of a frame is told in."""


def can_bus_vector(frame: Frame, previous: Frame | None, *, released: bool = False) -> Array:
    """The motion up to a frame, in the order of the released models' first linear layer.

    Args:
        frame: the frame.
        previous: the frame before it; None for the first of a scene.
        released: as the released models were trained: w in place of all four numbers of the quaternion, and the
            IMU's record after the frame instead of the one before it.

    Returns:
        (18,) float64: translation of the vehicle since ``previous`` along the global axes in metres; rotation to the
        global frame as a quaternion (w, x, y, z); acceleration, rotation rate and velocity of the IMU, three each;
        heading in the global frame in radians, in [0, 2 pi); how much it grew since ``previous``, in degrees and not
        wrapped: from 356 to 3 it is -353.  Without ``previous``, translation and growth are zero.
    """
    result = np.zeros(CAN_BUS)
    quaternion = frame.ego.quaternion
    result[3:7] = quaternion[0] if released else quaternion
    result[7:16] = frame.imu_after if released else frame.imu
    result[16] = _heading(frame)
    if previous is not None:
        result[:3] = frame.ego.translation - previous.ego.translation
        result[17] = np.degrees(result[16] - _heading(previous))
    return result


def moved_between(now: Frame, then: Frame) -> Pose:
    """From points of the lidar frame of one moment to that of another one of the same drive, in float64.

    ``camera.lidar_to_pixels @ moved_between(now, then).matrix`` is how a camera of ``then`` shows points of ``now``.
    """
    return then.lidar_to_global.inverse @ now.lidar_to_global


def bev_shift(can_bus: Array, extent: tuple[float, float], *, ahead: Literal["x", "y"] = "y") -> Array:
    """How far the vehicle came, seen from itself, in a grid on the ground.

    Args:
        can_bus: (18,) as of :func:`can_bus_vector`.
        extent: of the grid along x and y, metres.
        ahead: the grid's axis that points ahead; x is then to the right (y ahead, as a lidar has it), or y to the left.

    Returns:
        (2,) float64, along x and y, as shares of the extent: what is now at a place of the grid was there, plus this,
        before.
    """
    x, y = can_bus[:2]
    angle = can_bus[16] - np.arctan2(y, x)
    along = (np.cos(angle), -np.sin(angle)) if ahead == "x" else (np.sin(angle), np.cos(angle))
    shift: Array = np.hypot(x, y) * np.array(along) / np.asarray(extent, dtype=np.float64)
    return shift


def bev_turn(can_bus: Array) -> float:
    """By how many degrees the vehicle turned, counter-clockwise seen from above."""
    return float(can_bus[17])


def _heading(frame: Frame) -> float:
    """Radians in [0, 2 pi)."""
    return frame.ego.yaw % (2 * pi)
