"""Boxes that can be measured, and those inside others."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from internimage.driving.geometry.boxes import GlobalBoxes
from internimage.driving.geometry.poses import Array, rotation_matrix
from internimage.errors import DataError


def checked(boxes: GlobalBoxes, classes: int, where: str) -> GlobalBoxes:
    """The boxes themselves; ``where`` begins the message.

    Raises:
        DataError: a number is not finite, a size not above 0, a rotation none, a score below 0, a label no class.
            Velocities may be NaN.
    """
    count = len(boxes.labels)
    shapes = {"centres": (count, 3), "sizes": (count, 3), "rotations": (count, 4), "velocities": (count, 2)}
    for name, shape in {**shapes, "scores": (count,), "labels": (count,)}.items():
        if np.shape(getattr(boxes, name)) != shape:
            raise DataError(f"{where}: {name} are {np.shape(getattr(boxes, name))}; expected {shape}")
    if len(boxes.attributes) != count:
        raise DataError(f"{where}: {len(boxes.attributes)} attributes; expected {count}")
    for name in ("centres", "sizes", "rotations", "scores"):
        values = getattr(boxes, name)
        if not np.isfinite(values).all():
            _refuse(boxes, ~np.isfinite(values), name, "finite numbers", where)
    for name, bad, expected in (
        ("sizes", boxes.sizes <= 0, "lengths above 0"),
        ("rotations", ~boxes.rotations.any(axis=1), "a quaternion"),
        ("scores", boxes.scores < 0, "0 or more"),
        ("labels", boxes.labels >= classes, f"less than {classes}, the number of classes"),
    ):
        if bad.any():
            _refuse(boxes, bad, name, expected, where)
    return boxes


def _refuse(boxes: GlobalBoxes, bad: Any, name: str, expected: str, where: str) -> NoReturn:
    place = int(np.argwhere(bad)[0, 0])
    value = getattr(boxes, name)[place].tolist()
    raise DataError(f"{where} {place}: {name} {value}; expected {expected}")


def in_any(boxes: GlobalBoxes, points: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(P,) whether each of the points (P, 3) is in one of the boxes, its surface included."""
    inside = np.zeros(len(points), bool)
    for place in range(len(boxes)):
        own = (points - boxes.centres[place]) @ rotation_matrix(boxes.rotations[place])
        width, length, height = boxes.sizes[place]
        inside |= (2 * np.abs(own) <= (length, width, height)).all(axis=1)
    return inside
