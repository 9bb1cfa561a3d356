"""Boxes as they stand in the world.

Networks learn boxes that are upright in the lidar frame, but what stands on a street is upright in the global one: the
lidar of nuScenes leans by 1.4 degrees, which lifts the near end of a truck by 20 pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from internimage.driving.geometry.boxes import Boxes
from internimage.driving.geometry.poses import Array, Pose


def standing_rotations(boxes: Boxes, pose: Pose) -> Array:
    """(N, 3, 3) rotations from each box (length along x) to its frame, so that it is upright where ``pose`` leads.

    Args:
        boxes: of a frame, such as lidar.
        pose: from this frame to one whose z axis points up, such as lidar to global.
    """
    none = np.zeros(len(boxes))
    ahead = np.stack([np.cos(boxes.yaws), np.sin(boxes.yaws), none], axis=1) @ pose.rotation.T
    ahead[:, 2] = 0
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    left = np.stack([-ahead[:, 1], ahead[:, 0], none], axis=1)
    up = np.broadcast_to(np.array([0.0, 0.0, 1.0]), ahead.shape)
    rotations: Array = pose.rotation.T @ np.stack([ahead, left, up], axis=2)
    return rotations


def standing_corners(boxes: Boxes, pose: Pose) -> Array:
    """(N, 8, 3) corners in the order of :meth:`Boxes.corners` and in the same frame, of boxes that stand so."""
    local = replace(boxes, centres=np.zeros_like(boxes.centres), yaws=np.zeros(len(boxes))).corners()
    corners: Array = local @ standing_rotations(boxes, pose).transpose(0, 2, 1) + boxes.centres[:, None]
    return corners
