"""How far lanes and boxes are from each other; all pairs of a frame at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from internimage.driving.geometry.boxes import Numbers
from internimage.driving.geometry.poses import Array

FAR = 1024.0
"""The distance of pairs that are not looked at."""

_NEAREST = 0.5  # the least factor by which far lanes are brought nearer
_PER_METRE = 0.005


def relaxation(truth: Sequence[Array]) -> Array:
    """(G,) factors for the distances to true lanes: what is far from the vehicle may be missed by more."""
    nearest = np.array([np.linalg.norm(lane, axis=1).min() for lane in truth])
    return np.maximum(_NEAREST, 1 - _PER_METRE * nearest)


def lane_distances(truth: Sequence[Array], found: Sequence[Array], within: float, *, closed_twice: bool) -> Array:
    """(G, P) discrete Frechet distances of lanes in metres, ``FAR`` where the mean distance is ``within`` or more.

    Both are relaxed, see :func:`relaxation`; the mean distance is that from each of the points of one lane to the
    nearest of the other, and back.

    Args:
        truth, found: (points, 3) each.
        within: metres.
        closed_twice: whether the point with which a true lane returns to its beginning counts in the mean.
    """
    result = np.full((len(truth), len(found)), FAR)
    if not result.size:
        return result
    counts = np.array([len(lane) - (not closed_twice and bool((lane[0] == lane[-1]).all())) for lane in truth])
    own, own_shares = _stacked(truth, counts)
    other, other_shares = _stacked(found, np.array([len(lane) for lane in found]))
    away = np.sqrt(((own[:, None, :, None] - other[None, :, None]) ** 2).sum(-1))  # (G, P, own points, other points)
    counted = away if closed_twice else np.where(own_shares[:, None, :, None] > 0, away, np.inf)
    there, back = (away.min(3) * own_shares[:, None]).sum(2), (counted.min(2) * other_shares).sum(2)
    factors = relaxation(truth)
    near = (there + back) / 2 * factors[:, None] < within
    result[near] = frechet(away[near]) * factors[np.nonzero(near)[0]]
    return result


def _stacked(lanes: Sequence[Array], counts: Numbers) -> tuple[Array, Array]:
    """(N, P, 3) lanes filled up by their last point, and (N, P) what each counts in a mean over the first points."""
    most = max(map(len, lanes))
    points = np.stack([np.concatenate([lane, np.repeat(lane[-1:], most - len(lane), axis=0)]) for lane in lanes])
    return points.astype(np.float64), (np.arange(most) < counts[:, None]) / counts[:, None]


def frechet(away: Array) -> Array:
    """(K,) discrete Frechet distances from the distances (K, n, m) of the points of K pairs of curves."""
    rows, columns = away.shape[1:]
    before = np.maximum.accumulate(away[:, 0], axis=1)
    for row in range(1, rows):
        now = np.empty_like(before)
        now[:, 0] = np.maximum(before[:, 0], away[:, row, 0])
        cheapest = np.minimum(before[:, 1:], before[:, :-1])
        for column in range(1, columns):
            reached = np.minimum(cheapest[:, column - 1], now[:, column - 1])
            np.maximum(reached, away[:, row, column], out=now[:, column])
        before = now
    return before[:, -1]


def box_distances(truth: Array, found: Array) -> Array:
    """(G, P) one minus the intersection over the union of boxes (N, 4); 1 for two boxes without area."""
    low = np.maximum(truth[:, None, :2], found[None, :, :2])
    high = np.minimum(truth[:, None, 2:], found[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (truth, found)]
    union = areas[0][:, None] + areas[1][None] - inside
    return 1 - np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
