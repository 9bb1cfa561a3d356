"""Which prediction is which true thing, and precision over recall from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from internimage.driving.geometry.boxes import Numbers
from internimage.driving.geometry.poses import Array

_RECALLS = np.arange(0, 1 + 1e-3, 0.1)
_EPS = float(np.finfo(np.float32).eps)
NONE = -1

Flags = np.ndarray[Any, np.dtype[np.bool_]]


def match(distances: Array, scores: Array, threshold: float) -> Numbers:
    """(P,) the true thing of each prediction, ``NONE`` for none: its nearest, if no better prediction has it.

    Args:
        distances: (G, P).
        scores: (P,).
        threshold: a pair is nearer than that.
    """
    chosen = np.full(distances.shape[1], NONE)
    if not distances.size:
        return chosen
    nearest = distances.argmin(0)
    order = np.argsort(-scores, kind="stable")
    order = order[distances.min(0)[order] < threshold]
    truth, first = np.unique(nearest[order], return_index=True)
    chosen[order[first]] = truth
    return chosen


def average_precision(hits: Flags, scores: Array, count: int) -> float:
    """The mean, over eleven recalls, of the best precision there; 1 where there is nothing and nothing is found.

    Args:
        hits, scores: (P,) of all predictions.
        count: true things.
    """
    if not len(hits):
        return float(not count)
    right = np.cumsum(hits[np.argsort(-scores, kind="stable")])
    recalls, precisions = right / max(count, _EPS), right / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precisions[::-1])[::-1]
    places = np.searchsorted(recalls, _RECALLS)
    return float(np.append(best, 0.0)[places].mean())


def recall_thresholds(hits: Flags, scores: Array, count: int) -> Array:
    """(10,) the scores from which on metric 1.0 counts predictions of a frame at its ten levels of recall.

    It takes the place among the sorted predictions and looks it up among those that are not.
    """
    recalls = np.cumsum(hits[np.argsort(-scores, kind="stable")]) / max(count, _EPS)
    levels = np.percentile(recalls, np.arange(10, 101, 10), method="closest_observation")
    last = {recall: place for place, recall in enumerate(recalls.tolist())}
    return scores[[last[level] for level in levels.tolist()]]


def vertex_precisions(truth: Flags, found: Array, above: float) -> Array:
    """(N,) average precision of each row's edges: those above a confidence, the surest first.

    A row without edges, of which none is found, is 1; one of which edges are found or missed altogether is 0.

    Args:
        truth, found: (N, M).
        above: confidence of an edge.
    """
    sure = found > above
    order = np.argsort(np.where(sure, -found, np.inf), axis=1, kind="stable")
    hits = np.take_along_axis(truth & sure, order, 1)
    precisions = np.cumsum(hits, 1) / np.arange(1, hits.shape[1] + 1)
    counts = truth.sum(1)
    means = (precisions * hits).sum(1) / np.maximum(counts, 1)
    return np.where(counts > 0, means, ~sure.any(1))


def edges_between(found: Array, rows: Numbers, columns: Numbers, truth: Flags, unmatched: float) -> Array:
    """Found edges in the places of true things; between others each is what is not true, ``unmatched`` sure.

    Args:
        found: (P, Q).
        rows, columns: (P,) and (Q,) true things of the predictions, ``NONE`` for none.
        truth: (N, M).
        unmatched: confidence.
    """
    result = np.where(truth, 0.0, unmatched)
    some, others = np.flatnonzero(rows != NONE), np.flatnonzero(columns != NONE)
    result[np.ix_(rows[some], columns[others])] = found[np.ix_(some, others)]
    return result


def both_ways(truth: Flags, found: Array, above: float) -> Sequence[Array]:
    """Precisions of rows and of columns."""
    return vertex_precisions(truth, found, above), vertex_precisions(truth.T, found.T, above)
