"""Frames of reference and the way from one to another.

Frames: *global*, that of the map; *ego*, x forward, y left, z up, at the rear axle; *lidar* of nuScenes, x right,
y forward, z up; *camera*, x right, y down, z forward.  All in metres and float64: at a thousand metres from the map's
origin, float32 is left with a tenth of a millimetre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from internimage.errors import DataError

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
_TOLERANCE = 1e-3  # how far a rotation may be from one: tables are rounded


@dataclass(frozen=True, eq=False)
class Pose:
    """Maps points of one frame to another: p' = R p + t.

    Attributes:
        rotation: (3, 3) float64, orthonormal, determinant 1.
        translation: (3,) float64, metres.
    """

    rotation: Array
    translation: Array

    @classmethod
    def from_quaternion(cls, rotation: Sequence[float] | Array, translation: Sequence[float] | Array) -> Pose:
        """From a quaternion (w, x, y, z), which is normalised.

        Raises:
            DataError: no rotation: not four finite numbers, or of a length that is not 1.
        """
        return cls(rotation_matrix(rotation), checked_translation(translation))

    @classmethod
    def from_matrix(cls, matrix: Sequence[Sequence[float]] | Array) -> Pose:
        """From a (4, 4) matrix.

        Raises:
            DataError: its upper left is no rotation.
        """
        whole = np.asarray(matrix, dtype=np.float64)
        if whole.shape != (4, 4):
            raise DataError(f"a pose of shape {whole.shape}; expected (4, 4)")
        rotation = whole[:3, :3]
        wrong = np.abs(rotation @ rotation.T - np.eye(3)).max()
        if not wrong < _TOLERANCE or np.linalg.det(rotation) < 0:
            raise DataError(
                f"{rotation.round(3).tolist()} is no rotation: its rows are not at right angles, of length 1"
            )
        return cls(rotation, checked_translation(whole[:3, 3]))

    @classmethod
    def identity(cls) -> Pose:
        """Maps every point to itself."""
        return cls(np.eye(3), np.zeros(3))

    def __call__(self, points: Array) -> Array:
        """Points (..., 3) in the other frame."""
        moved: Array = np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation
        return moved

    def __matmul__(self, first: Pose) -> Pose:
        """The pose that does ``first`` and then this."""
        return Pose(self.rotation @ first.rotation, self.rotation @ first.translation + self.translation)

    @cached_property
    def inverse(self) -> Pose:
        """The way back."""
        return Pose(self.rotation.T, -self.rotation.T @ self.translation)

    @cached_property
    def matrix(self) -> Array:
        """(4, 4)."""
        whole = np.eye(4)
        whole[:3, :3], whole[:3, 3] = self.rotation, self.translation
        return whole

    @property
    def quaternion(self) -> Array:
        """(4,) w, x, y, z of length 1, w >= 0."""
        return quaternion_of(self.rotation)

    @property
    def yaw(self) -> float:
        """Where the x axis points, in radians counter-clockwise from the other frame's x axis, seen from above."""
        return float(np.arctan2(self.rotation[1, 0], self.rotation[0, 0]))


def rotation_matrix(quaternion: Sequence[float] | Array) -> Array:
    """(3, 3) from (w, x, y, z); see :meth:`Pose.from_quaternion`."""
    values = np.asarray(quaternion, dtype=np.float64)
    if values.shape != (4,) or not np.isfinite(values).all():
        raise DataError(f"{list(np.ravel(values))} is no rotation; expected a quaternion of four numbers (w, x, y, z)")
    if not are_rotations(values):
        length = float(np.linalg.norm(values))
        raise DataError(f"{values.tolist()} is no rotation: a quaternion (w, x, y, z) of length {length:.4g}, not 1")
    return rotation_matrices(values)


def are_rotations(quaternions: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether each of (..., 4) numbers w, x, y, z is finite and has the length 1, as far as rounding lets it."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.abs(np.linalg.norm(quaternions, axis=-1) - 1) <= _TOLERANCE  # False for NaN


def rotation_matrices(quaternions: Array) -> Array:
    """(..., 3, 3) from (..., 4) w, x, y, z that are rotations; they are normalised."""
    w, x, y, z = np.moveaxis(quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True), -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_of(rotation: Array) -> Array:
    """(4,) w, x, y, z from (3, 3), by the largest component, w >= 0."""
    trace = np.trace(rotation)
    squares = np.array([trace, *(2 * np.diag(rotation) - trace)])  # 4 q^2 - 1 of each component
    largest = int(np.argmax(squares))
    differences = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    if largest == 0:
        values = np.array([1 + trace, *differences])
    else:
        i = largest - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        values = np.empty(4)
        values[0] = differences[i]
        values[1 + i] = 1 + squares[largest]
        values[1 + j] = rotation[j, i] + rotation[i, j]
        values[1 + k] = rotation[k, i] + rotation[i, k]
    values = values / np.linalg.norm(values)
    return values if values[0] >= 0 else -values


def checked_translation(translation: Sequence[float] | Array) -> Array:
    """(3,) float64.

    Raises:
        DataError: not three finite numbers.
    """
    values = np.asarray(translation, dtype=np.float64)
    if values.shape != (3,) or not np.isfinite(values).all():
        raise DataError(f"{list(np.ravel(values))} is no place; expected three numbers in metres")
    return values


def wrapped(angle: Array) -> Array:
    """Angles in radians, in [-pi, pi)."""
    return (np.asarray(angle, dtype=np.float64) + np.pi) % (2 * np.pi) - np.pi
