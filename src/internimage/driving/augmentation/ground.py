"""The ground turned, scaled and mirrored, with the boxes on it.  No torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from internimage.driving.augmentation.settings import GroundVariation
from internimage.driving.geometry.boxes import Boxes
from internimage.driving.geometry.poses import Array, wrapped


def ground_matrix(variation: GroundVariation) -> Array:
    """(3, 3) float64: places of the lidar frame to where they are afterwards."""
    angle = np.radians(variation.degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    mirror = np.diag([-1.0 if variation.mirror_x else 1.0, -1.0 if variation.mirror_y else 1.0, 1.0])
    moved: Array = mirror @ turn * variation.scale
    return moved


def varied_boxes(boxes: Boxes, variation: GroundVariation) -> Boxes:
    """Boxes of the lidar frame as they stand on the ground afterwards."""
    matrix = ground_matrix(variation)
    yaws = boxes.yaws + np.radians(variation.degrees)
    if variation.mirror_x:
        yaws = np.pi - yaws
    if variation.mirror_y:
        yaws = -yaws
    return replace(
        boxes,
        centres=boxes.centres @ matrix.T,
        sizes=boxes.sizes * variation.scale,
        yaws=wrapped(yaws),
        velocities=boxes.velocities @ matrix[:2, :2].T,
    )
