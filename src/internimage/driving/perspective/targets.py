"""What a camera's picture shows of the true boxes of a frame."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from internimage.driving.augmentation.pictures import to_shown
from internimage.driving.augmentation.settings import Framing
from internimage.driving.data.frames import Camera, Frame
from internimage.driving.geometry.boxes import Numbers
from internimage.driving.geometry.poses import Array, rotation_matrices
from internimage.driving.perspective.decoding import CameraBoxes, product

NO_ATTRIBUTE = 3
"""Of what has no attribute, or one that nobody looked for: nothing is learnt of it."""

ATTRIBUTES = {
    "vehicle.moving": 0,
    "vehicle.parked": 1,
    "vehicle.stopped": 2,
    "pedestrian.moving": 0,
    "pedestrian.standing": 1,
    "pedestrian.sitting_lying_down": 2,
    "cycle.with_rider": 0,
    "cycle.without_rider": 1,
}
"""Their numbers among the three that are learnt; classes share them."""

LEAST_POINTS = 3
"""Lidar and radar points on a box that is learnt, as far as they are counted."""

_BEHIND, _BEFORE = 0.1, 1.0  # metres ahead of the camera: of every corner, and of the one that is seen
_SHARE = 0.2  # least, of a box in the picture's plane, that lies inside the picture


@dataclass(frozen=True)
class CameraTargets:
    """What is to be found in one picture.

    Attributes:
        sides: (G, 4) float32 left, top, right, bottom in pixels of what is shown.
        labels: (G,) int64.
        rotations: (G, 3, 3) float32 box to camera.
        positions: (G, 3) float32 centres of the volumes in the camera's frame, metres.
        sizes: (G, 3) float32 width, length, height.
        attributes: (G,) int64, see :data:`ATTRIBUTES`.
        speeds: (G,) float32 metres a second; NaN where unknown.
        intrinsic: (3, 3) float32 camera to pixels of what is shown.
    """

    sides: Tensor
    labels: Tensor
    rotations: Tensor
    positions: Tensor
    sizes: Tensor
    attributes: Tensor
    speeds: Tensor
    intrinsic: Tensor

    def to(self, device: torch.device) -> CameraTargets:
        """The same on another device."""
        return CameraTargets(*(getattr(self, one.name).to(device) for one in fields(self)))

    def boxes(self) -> CameraBoxes:
        """The boxes in space."""
        pixels = product(self.positions, self.intrinsic.T)
        depths = self.positions[:, 2]
        back = torch.linalg.inv(self.intrinsic).expand(len(depths), -1, -1)
        return CameraBoxes(self.rotations, pixels[:, :2] / pixels[:, 2:], depths, self.sizes, back)


def camera_targets(frame: Frame, camera: Camera, framing: Framing) -> CameraTargets:
    """The boxes that a camera shows: of known classes, hit by enough points, wholly before it, enough of them seen.

    Args:
        frame: with its true boxes; without any where nobody looked.
        camera: one of its cameras.
        framing: what is shown of the picture.
    """
    intrinsic = to_shown(framing) @ camera.intrinsic
    truth = frame.truth
    if truth is None:
        return empty_targets(intrinsic)
    truth = truth.chosen((truth.labels >= 0) & ((truth.points < 0) | (truth.points >= LEAST_POINTS)))
    to_camera = camera.pose.inverse @ frame.lidar_to_global.inverse
    turned = to_camera.rotation @ rotation_matrices(truth.rotations)
    places = to_camera(truth.centres)
    sides, shown = _seen(turned, places, truth.sizes, camera, framing)
    speeds = np.linalg.norm(truth.velocities, axis=1)
    attributes = np.array([ATTRIBUTES.get(one, NO_ATTRIBUTE) for one in truth.attributes], np.int64)
    columns = (sides, truth.labels, turned, places, truth.sizes, attributes, speeds)
    return CameraTargets(*[_tensor(one) for one in (*(column[shown] for column in columns), intrinsic)])


def empty_targets(intrinsic: Array) -> CameraTargets:
    """Nothing, in a picture of these intrinsics (3, 3)."""
    places, labels = np.zeros((0, 3)), np.zeros(0, np.int64)
    columns = (np.zeros((0, 4)), labels, np.zeros((0, 3, 3)), places, places, labels, np.zeros(0), intrinsic)
    return CameraTargets(*[_tensor(one) for one in columns])


def _seen(rotations: Array, places: Array, sizes: Array, camera: Camera, framing: Framing) -> tuple[Array, Array]:
    """(N, 4) left, top, right and bottom of what is shown, and (N,) bool, whether it counts."""
    width, length, height = (side[:, None] for side in sizes.T)
    along, across, up = (np.array([sign]) for sign in _SIGNS)
    local = np.stack([length * along, width * across, height * up], axis=-1)
    corners = local @ rotations.transpose(0, 2, 1) + places[:, None]
    depths = corners[..., 2]
    pixels = corners @ camera.intrinsic.T
    pixels = pixels[..., :2] / np.maximum(pixels[..., 2:], 1e-9)
    rows, columns = camera.size
    extent = np.array([columns, rows], np.float64)
    inside = ((pixels > 0) & (pixels < extent)).all(-1) & (depths > _BEFORE)
    least, most = pixels.min(1), pixels.max(1)
    low, high = least.clip(0, extent), most.clip(0, extent)
    share = (high - low).prod(1) / np.maximum((most - least).prod(1), 1e-9)
    scale, (left, top, right, bottom) = framing.scale, framing.crop
    frame = np.array([right - left, bottom - top]) * scale
    low, high = (((one - (left, top)) * scale).clip(0, frame) for one in (low, high))
    counts = (depths > _BEHIND).all(1) & inside.any(1) & (share >= _SHARE)
    return np.concatenate([low, high], axis=1), counts & (high > low).all(1)


_SIGNS = np.array([[1, 1, 1, 1, -1, -1, -1, -1], [1, -1, -1, 1, 1, -1, -1, 1], [1, 1, -1, -1, 1, 1, -1, -1]]) / 2


def _tensor(values: Array | Numbers) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.float() if tensor.is_floating_point() else tensor
