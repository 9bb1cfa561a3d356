"""Detections matched with true boxes by the distance of their centres, as nuScenes' benchmark does.

The best detection first, each takes the nearest box of its sample that is still free.  Only a better detection near the
same box can be in the way of one: all detections that are the best near their nearest box are therefore decided at
once, over all samples.  What is left is a smaller problem of the same kind; a few rounds end it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from internimage.driving.geometry.boxes import Numbers
from internimage.driving.geometry.poses import Array

_BLOCK = 1 << 20  # pairs whose distances are computed at once
FALSE = -1


class Pairs(NamedTuple):
    """Detections and true boxes of the same sample that are near each other, (P,) each, by detection, then distance."""

    found: Numbers
    truth: Numbers
    distances: Array


def near_pairs(found: Array, found_samples: Numbers, truth: Array, truth_samples: Numbers, most: float) -> Pairs:
    """All pairs of a sample that are less than ``most`` metres apart.

    Args:
        found, truth: (N, 2) and (G, 2) centres in metres, as seen from above.
        found_samples, truth_samples: (N,) and (G,) numbers of their samples; the latter rising.
    """
    starts = np.searchsorted(truth_samples, found_samples, "left")
    counts = np.searchsorted(truth_samples, found_samples, "right") - starts
    before = np.concatenate([[0], counts.cumsum()])  # pairs of the detections before each
    parts = []
    first = 0
    while first < len(found):
        last = max(first + 1, int(np.searchsorted(before, before[first] + _BLOCK, "right")) - 1)
        own = counts[first:last]
        rows = np.repeat(np.arange(first, last), own)
        columns = np.arange(len(rows)) + np.repeat(starts[first:last] - (before[first:last] - before[first]), own)
        away = found[rows] - truth[columns]
        distances = np.sqrt(away[:, 0] * away[:, 0] + away[:, 1] * away[:, 1])
        near = distances < most
        parts.append(Pairs(rows[near], columns[near], distances[near]))
        first = last
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Pairs(nothing, nothing, np.zeros(0))
    rows, columns, distances = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((columns, distances, rows))
    return Pairs(rows[order], columns[order], distances[order])


def match(pairs: Pairs, found: int, truth: int, threshold: float) -> Numbers:
    """The true box (N,) of each of ``found`` detections, ``FALSE`` for none.

    Args:
        pairs: see :func:`near_pairs`, of detections whose best comes first; of equally near boxes the first is taken.
        found, truth: how many there are.
        threshold: metres; a pair is nearer than that.
    """
    chosen = np.full(found, FALSE)
    near = pairs.distances < threshold
    rows, columns = pairs.found[near], pairs.truth[near]
    best, free = np.zeros(truth, np.int64), np.ones(truth, bool)
    while len(rows):
        best[columns[::-1]] = rows[::-1]  # of several values for one place the last stays: the best detection
        nearest = np.concatenate([[True], rows[1:] != rows[:-1]])
        decided = nearest & (best[columns] == rows)
        chosen[rows[decided]] = columns[decided]
        free[columns[decided]] = False
        left = free[columns] & (chosen[rows] == FALSE)
        rows, columns = rows[left], columns[left]
    return chosen
