"""Boxes in space, as columns: in the lidar frame, where they are learnt, and the global one of the metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from internimage.driving.geometry.poses import (
    Array,
    Pose,
    are_rotations,
    rotation_matrices,
    rotation_matrix,
    wrapped,
)

Numbers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes that stand upright in the lidar frame (or another one whose z points up).

    Attributes:
        centres: (N, 3) float64, of the volume, metres.
        sizes: (N, 3) width, length, height, metres; the length lies along the heading.
        yaws: (N,) radians, heading counter-clockwise from the x axis, in [-pi, pi).
        velocities: (N, 2) metres a second along x and y; NaN where unknown.
        labels: (N,) int64.
        scores: (N,), 1 for true boxes.
    """

    centres: Array
    sizes: Array
    yaws: Array
    velocities: Array
    labels: Numbers
    scores: Array

    @classmethod
    def empty(cls) -> Boxes:
        """No boxes."""
        none = np.zeros(0)
        return cls(np.zeros((0, 3)), np.zeros((0, 3)), none, np.zeros((0, 2)), np.zeros(0, np.int64), none)

    def __len__(self) -> int:
        return len(self.labels)

    def chosen(self, which: Any) -> Boxes:
        """Some of them, by a mask or by their numbers."""
        return Boxes(*(getattr(self, one.name)[which] for one in fields(self)))

    def corners(self) -> Array:
        """(N, 8, 3): the front four (left bottom, right bottom, right top, left top), then the rear four alike."""
        along = np.array([1, 1, 1, 1, -1, -1, -1, -1]) / 2
        across = np.array([1, -1, -1, 1, 1, -1, -1, 1]) / 2
        up = np.array([-1, -1, 1, 1, -1, -1, 1, 1]) / 2
        width, length, height = (side[:, None] for side in self.sizes.T)
        cosine, sine = np.cos(self.yaws)[:, None], np.sin(self.yaws)[:, None]
        x, y = length * along, width * across
        local = np.stack([cosine * x - sine * y, sine * x + cosine * y, height * up], axis=-1)
        corners: Array = self.centres[:, None] + local
        return corners


@dataclass(frozen=True, eq=False)
class GlobalBoxes:
    """Boxes in the global frame with any rotation, as nuScenes writes truth and results.

    Attributes:
        centres: (N, 3) float64, metres.
        sizes: (N, 3) width, length, height, metres.
        rotations: (N, 4) quaternions w, x, y, z; box to global, the length along the box's x axis.
        velocities: (N, 2) metres a second along global x and y; NaN where unknown.
        labels: (N,) int64; -1 for what is of no class.
        attributes: of each, such as "vehicle.parked"; "" for none.
        scores: (N,), 1 for true boxes.
        points: (N,) int64, lidar and radar points on each; -1 where unknown.
    """

    centres: Array
    sizes: Array
    rotations: Array
    velocities: Array
    labels: Numbers
    attributes: tuple[str, ...]
    scores: Array
    points: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def empty(cls) -> GlobalBoxes:
        """No boxes."""
        none, three = np.zeros(0), np.zeros((0, 3))
        return cls(three, three, np.zeros((0, 4)), np.zeros((0, 2)), np.zeros(0, np.int64), (), none)

    def __len__(self) -> int:
        return len(self.labels)

    def chosen(self, which: Any) -> GlobalBoxes:
        """Some of them, by a mask or by their numbers."""
        numbers = np.arange(len(self))[which]
        columns = {one.name: getattr(self, one.name)[numbers] for one in fields(self) if one.name != "attributes"}
        return GlobalBoxes(attributes=tuple(self.attributes[i] for i in numbers), **columns)

    def upright(self, pose: Pose) -> Boxes:
        """In a frame whose z axis points up, given the way from it to the global one; tilts of the boxes are left out.

        Args:
            pose: of the frame, such as lidar to global.

        Raises:
            DataError: a rotation is none.
        """
        back = pose.inverse
        for one in self.rotations[~are_rotations(self.rotations)]:
            rotation_matrix(one)  # says what is wrong
        turned = back.rotation @ rotation_matrices(self.rotations)
        # where the frame's x axis lies as the box sees it, as nuScenes' tools measure headings: of a box that is tilted
        # by a in the frame, it is off by a^2 from where the box's own x axis points
        yaws = wrapped(np.arctan2(-turned[:, 0, 1], turned[:, 0, 0]))
        flat = np.concatenate([self.velocities, np.zeros((len(self), 1))], axis=1)
        velocities = (flat @ back.rotation.T)[:, :2]
        return Boxes(back(self.centres), self.sizes, yaws, velocities, self.labels, self.scores)


def in_global(boxes: Boxes, pose: Pose, attributes: Sequence[str]) -> GlobalBoxes:
    """Upright boxes of a frame in the global one, given the way from it, such as lidar to global."""
    w, x, y, z = pose.quaternion
    cosine, sine = np.cos(boxes.yaws / 2), np.sin(boxes.yaws / 2)
    rotations = np.stack(
        [w * cosine - z * sine, x * cosine + y * sine, y * cosine - x * sine, z * cosine + w * sine], 1
    )
    rotations = np.where(rotations[:, :1] < 0, -rotations, rotations)
    flat = np.concatenate([boxes.velocities, np.zeros((len(boxes), 1))], axis=1)
    velocities = (flat @ pose.rotation.T)[:, :2]
    unknown = np.full(len(boxes), -1)
    return GlobalBoxes(
        pose(boxes.centres), boxes.sizes, rotations, velocities, boxes.labels, tuple(attributes), boxes.scores, unknown
    )
