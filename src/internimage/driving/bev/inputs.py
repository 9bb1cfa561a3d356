"""What a network that looks from above is given, learns from and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor


class _Tensors:
    """A dataclass of tensors."""

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Self:
        """The same on another device; images, which are what a network computes with, in another dtype."""
        moved = {}
        for one in fields(self):  # type: ignore[arg-type]
            value = getattr(self, one.name)
            wanted = dtype if one.name == "images" else None
            moved[one.name] = value.to(device, wanted or value.dtype, non_blocking=True)
        return type(self)(**moved)

    @classmethod
    def stacked(cls, parts: Sequence[Self]) -> Self:
        """Several of them as one, along the first dimension."""
        return cls(**{one.name: torch.cat([getattr(part, one.name) for part in parts]) for one in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Views(_Tensors):
    """N frames as a network takes them.

    Attributes:
        images: (N, cameras, 3, H, W) normalised, padded at the right and bottom; zeros where a camera is missing.
        lidar_to_pixels: (N, cameras, 4, 4) float32, points of the frame that the grid stands in, the lidar's
            or the vehicle's, to (u d, v d, d, 1), pixels of ``images``.
        present: (N, cameras) bool, false where a camera is missing: it sees nothing.
        can_bus: (N, 18) float32, motion since the frame before in the released order, see
            :func:`internimage.driving.geometry.motion.can_bus_vector`.
        shift: (N, 2) float32, how far the vehicle came, as shares of the grid's extent along x and y.
        turn: (N,) float32, degrees that it turned.
        continued: (N,) bool, whether there is a frame before.
        sizes: (N, cameras, 2) int64, (height, width) of each picture without its padding; of a missing one with it.
    """

    images: Tensor
    lidar_to_pixels: Tensor
    present: Tensor
    can_bus: Tensor
    shift: Tensor
    turn: Tensor
    continued: Tensor
    sizes: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Cameras(_Tensors):
    """The cameras of N frames, for what looks at their pictures one by one.

    Attributes:
        intrinsics: (N, cameras, 3, 3) float32, camera to pixels of the pictures that a network is given; any numbers
            where a camera is missing.
        to_lidar: (N, cameras, 4, 4) float32, camera to the lidar frame of the boxes, metres.
    """

    intrinsics: Tensor
    to_lidar: Tensor


@dataclass(frozen=True)
class Variations(_Tensors):
    """How N frames are shown in training, all their moments alike.

    Attributes:
        mirrored: (N,) bool, whether a network is to mirror their pictures, and its maps back.
        ground: (N, 3, 3) float32, places of the lidar frame to where boxes have been moved.
    """

    mirrored: Tensor
    ground: Tensor


@dataclass(frozen=True)
class BoxTargets:
    """What is to be found in one frame.

    Attributes:
        boxes: (G, 9) float32: centre x, y, z of the volume, width, length, height, yaw in the lidar frame, velocity
            x, y; NaN where that is unknown.
        labels: (G,) int64.
    """

    boxes: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> BoxTargets:
        """The same on another device."""
        return BoxTargets(self.boxes.to(device), self.labels.to(device))


@dataclass(frozen=True)
class LaneTargets(_Tensors):
    """What is to be found of lanes in one frame.

    Attributes:
        curves: (G, CONTROLS, 3) float32, control points of the lanes in metres of the vehicle's frame.
        elements: (K, 4) float32, cxcywh of traffic elements as shares of the front camera's picture.
        attributes: (K,) int64, what they are.
        lane_lane: (G, G) float32, one where the column's lane goes on where the row's ends.
        lane_element: (G, K) float32, one where the element governs the lane.
    """

    curves: Tensor
    elements: Tensor
    attributes: Tensor
    lane_lane: Tensor
    lane_element: Tensor


@dataclass(frozen=True)
class VoxelTargets(_Tensors):
    """What fills the space of N frames.

    Attributes:
        labels: (N, X, Y, Z) uint8, numbers of classes.
        seen: (N, X, Y, Z) bool, voxels that a camera sees.
    """

    labels: Tensor
    seen: Tensor


@dataclass(frozen=True)
class RawLanes(_Tensors):
    """Lanes and traffic elements of one frame, all that are proposed, in no order.

    Attributes:
        curves: (Q, CONTROLS, 3) control points in metres of the vehicle's frame.
        scores: (Q,).
        elements: (T, 4) cxcywh as shares of the front camera's picture.
        element_scores: (T,).
        attributes: (T,) int64.
        lane_lane: (Q, Q) chances.
        lane_element: (Q, T) chances.
    """

    curves: Tensor
    scores: Tensor
    elements: Tensor
    element_scores: Tensor
    attributes: Tensor
    lane_lane: Tensor
    lane_element: Tensor


@dataclass(frozen=True)
class RawBoxes3D:
    """Boxes found in one frame, best first.

    Attributes:
        boxes: (M, 9) as in :class:`BoxTargets`.
        scores: (M,).
        labels: (M,) int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
