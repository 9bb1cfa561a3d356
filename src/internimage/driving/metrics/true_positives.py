"""How far a detection is from the box that it finds: the five errors of nuScenes' benchmark."""

from __future__ import annotations

import numpy as np

from internimage.driving.geometry.boxes import GlobalBoxes
from internimage.driving.geometry.poses import Array

ERRORS = ("ate", "ase", "aoe", "ave", "aae")
"""Of translation (metres, seen from above), scale (1 - IoU of the boxes laid onto each other), orientation (radians),
velocity (metres a second) and attribute (1 - accuracy)."""


def true_positive_errors(truth: GlobalBoxes, found: GlobalBoxes, period: float = 2 * np.pi) -> dict[str, Array]:
    """The errors (N,) of each detection; NaN where a velocity is unknown, or the attribute of a true box.

    Args:
        truth, found: N each, in pairs.
        period: radians after which a box looks the same.
    """
    turned = (yaws(truth.rotations) - yaws(found.rotations) + period / 2) % period - period / 2
    shared = np.minimum(truth.sizes, found.sizes).prod(1)
    union = truth.sizes.prod(1) + found.sizes.prod(1) - shared
    pairs = zip(truth.attributes, found.attributes, strict=True)
    wrong = [float(true != own) if true else float("nan") for true, own in pairs]
    return {
        "ate": np.linalg.norm(truth.centres[:, :2] - found.centres[:, :2], axis=1),
        "ase": 1 - shared / union,
        "aoe": np.abs(turned),
        "ave": np.linalg.norm(truth.velocities - found.velocities, axis=1),
        "aae": np.array(wrong, np.float64),
    }


def yaws(rotations: Array) -> Array:
    """(N,) radians from the x axis to the heading, seen from above, of quaternions (N, 4) of any length but 0."""
    w, x, y, z = rotations.T
    return np.arctan2(2 * (x * y + w * z), w * w + x * x - y * y - z * z)


def running_mean(values: Array) -> Array:
    """(N,) the mean of all values up to each, without NaN: 0 before the first number, 1 everywhere without any."""
    known = ~np.isnan(values)
    if not known.any():
        return np.ones(len(values))
    counts = known.cumsum()
    return np.nancumsum(values) / np.maximum(counts, 1)
