"""Lanes as Bezier curves of the fourth order, as OpenLane-V2's baseline learns them."""

from __future__ import annotations

from math import comb

import numpy as np

from internimage.driving.geometry.poses import Array
from internimage.errors import DataError

CONTROLS = 5
"""Control points of a lane, its ends included."""


def curve_weights(count: int) -> Array:
    """(count, CONTROLS) what each control point counts at parameters evenly spaced from 0 to 1."""
    t = np.linspace(0, 1, count)[:, None]
    order = CONTROLS - 1
    columns = [comb(order, k) * t**k * (1 - t) ** (order - k) for k in range(CONTROLS)]
    return np.concatenate(columns, axis=1)


def curve_points(controls: Array, count: int = 11) -> Array:
    """(..., count, 3) points on curves whose control points are (..., CONTROLS, 3)."""
    points: Array = curve_weights(count) @ controls
    return points


def fitted(points: Array) -> Array:
    """The control points (CONTROLS, 3) of a lane (P, 3): its ends, and three that come nearest in squares between them.

    The points' parameters are evenly spaced by their number, whatever their distances.

    Raises:
        DataError: there are fewer than two points.
    """
    if len(points) < 2:
        raise DataError(f"a lane of {len(points)} points; expected 2 or more")
    points = np.asarray(points, np.float64)
    weights = curve_weights(len(points))
    first, last = points[0], points[-1]
    rest = points - weights[:, :1] * first - weights[:, -1:] * last
    inner = np.linalg.lstsq(weights[:, 1:-1], rest, rcond=None)[0]
    return np.concatenate([first[None], inner, last[None]])
