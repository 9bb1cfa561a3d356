"""What nuScenes' detection benchmark says of its classes: how far they are looked for, and their attributes.

Source: configuration ``detection_cvpr_2019`` and ``nuscenes/eval/detection`` of nuscenes-devkit 1.2.0 (Apache-2.0); the
rule of attributes is that of BEVFormer's exporter.  Classes of one's own are looked for up to 50 m, without attributes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from internimage.driving.geometry.boxes import Numbers
from internimage.driving.geometry.poses import Array

RANGES = {
    **dict.fromkeys(("car", "truck", "bus", "trailer", "construction_vehicle"), 50.0),
    **dict.fromkeys(("pedestrian", "motorcycle", "bicycle"), 40.0),
    **dict.fromkeys(("traffic_cone", "barrier"), 30.0),
}
"""Metres from the vehicle, seen from above."""

OTHER_RANGE = 50.0

ATTRIBUTES = (
    *("vehicle.moving", "vehicle.parked", "vehicle.stopped"),
    *("pedestrian.moving", "pedestrian.standing", "pedestrian.sitting_lying_down"),
    *("cycle.with_rider", "cycle.without_rider"),
)

MOST_BOXES = 500
"""Of one frame in a file of results."""

_MOVING = 0.2  # metres a second
_FAST_AND_SLOW = {
    **dict.fromkeys(("car", "truck", "trailer", "construction_vehicle"), ("vehicle.moving", "vehicle.parked")),
    "bus": ("vehicle.moving", "vehicle.stopped"),
    "pedestrian": ("pedestrian.moving", "pedestrian.standing"),
    **dict.fromkeys(("bicycle", "motorcycle"), ("cycle.with_rider", "cycle.without_rider")),
}


def class_ranges(classes: Sequence[str]) -> Array:
    """(C,) metres up to which each class is looked for."""
    return np.array([RANGES.get(name, OTHER_RANGE) for name in classes], np.float64)


def likely_attributes(classes: Sequence[str], labels: Numbers, speeds: Array) -> tuple[str, ...]:
    """The attribute that a box most likely has, from how fast it is; "" for classes without attributes.

    Args:
        classes: names.
        labels: (N,) places in ``classes``.
        speeds: (N,) metres a second, along the ground; NaN counts as slow.
    """
    pairs = [_FAST_AND_SLOW.get(name, ("", "")) for name in classes]
    slow = ~(speeds > _MOVING)
    return tuple(pairs[label][standing] for label, standing in zip(labels.tolist(), slow.tolist(), strict=True))
