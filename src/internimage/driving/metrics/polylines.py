"""Average precision of vector maps by Chamfer distance.

Liu et al., VectorMapNet, ICML 2023, https://arxiv.org/abs/2206.08920, section 4; lines are compared as seen from above.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from internimage.driving.geometry.boxes import Numbers
from internimage.driving.geometry.poses import Array
from internimage.driving.geometry.vector_map import VectorMap

THRESHOLDS = (0.5, 1.0, 1.5)
"""Metres."""

_STEP = 0.3  # metres between the points that are compared


class _Label(NamedTuple):
    """Of a class in a frame: how many true lines there are, and of each found one score, distance and nearest."""

    true: int
    scores: Array
    distances: Array
    nearest: Numbers


class VectorMapScore:
    """The score of vector maps in frames that are added one by one, by any number of processes.

    Args:
        classes: names.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._frames: dict[str, list[_Label]] = {}

    def add(self, token: str, truth: VectorMap, found: VectorMap) -> None:
        """Add a frame; one that is there already is replaced.  Lines of a single point do not count.

        Raises:
            DataError: see :meth:`VectorMap.checked`.
        """
        maps = [one.checked(f"frame {token}", len(self.classes)) for one in (truth, found)]
        labels = []
        for label in range(len(self.classes)):
            own, other = (
                [number for number in np.flatnonzero(one.labels == label).tolist() if len(one.lines[number]) > 1]
                for one in maps
            )
            distances = chamfer_distances(
                [truth.lines[number] for number in own], [found.lines[number] for number in other]
            )
            away, nearest = np.full(len(other), np.inf), np.zeros(len(other), np.int64)
            if own and other:
                away, nearest = distances.min(0), distances.argmin(0)
            labels.append(_Label(len(own), found.scores[other], away, nearest))
        self._frames[token] = labels

    def state(self) -> dict[str, list[_Label]]:
        """Everything that was added."""
        return self._frames

    def merge(self, states: Sequence[dict[str, list[_Label]]]) -> None:
        """Be the sum of what several processes added."""
        self._frames = {token: frame for state in states for token, frame in state.items()}

    def precisions(self) -> dict[str, dict[float, float]]:
        """Average precision of each class that has a true line, at each of ``THRESHOLDS``."""
        return {
            name: {threshold: self._precision(label, threshold) for threshold in THRESHOLDS}
            for label, name in enumerate(self.classes)
            if any(frame[label].true for frame in self._frames.values())
        }

    def compute(self) -> dict[str, float]:
        """ "map" over classes and thresholds, "ap50" and so on over classes at one, and "frames"."""
        found = self.precisions()
        table = np.array([list(row.values()) for row in found.values()]).reshape(len(found), len(THRESHOLDS))
        means = table.mean(0) if len(table) else np.full(len(THRESHOLDS), np.nan)
        each = {f"ap{threshold * 100:.0f}": float(mean) for threshold, mean in zip(THRESHOLDS, means, strict=True)}
        return {"map": float(means.mean()), **each, "frames": len(self._frames)}

    def _precision(self, label: int, threshold: float) -> float:
        hits, scores, count = [np.zeros(0, bool)], [np.zeros(0)], 0
        for frame in self._frames.values():
            own = frame[label]
            order = np.argsort(-own.scores, kind="stable")
            near = order[own.distances[order] <= threshold]
            _, first = np.unique(own.nearest[near], return_index=True)
            hit = np.zeros(len(own.scores), bool)
            hit[near[first]] = True
            hits.append(hit)
            scores.append(own.scores)
            count += own.true
        return _area(np.concatenate(hits), np.concatenate(scores), count)


def _area(hits: np.ndarray[Any, np.dtype[np.bool_]], scores: Array, count: int) -> float:
    """Under the envelope of precision over recall."""
    right = np.cumsum(hits[np.argsort(-scores, kind="stable")])
    recalls = np.concatenate([[0.0], right / count, [1.0]])
    precisions = np.concatenate([[0.0], right / np.arange(1, len(right) + 1), [0.0]])
    best = np.maximum.accumulate(precisions[::-1])[::-1]
    return float((np.diff(recalls) * best[1:]).sum())


def resampled(line: Array) -> Array:
    """Points at 0, 0.3, 0.6, ... metres along a line, and its end."""
    line = np.asarray(line, np.float64)
    along = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
    places = np.append(np.arange(0, along[-1], _STEP), along[-1])
    return np.stack([np.interp(places, along, line[:, axis]) for axis in range(2)], axis=1)


def chamfer_distances(truth: Sequence[Array], found: Sequence[Array]) -> Array:
    """(G, P) mean distances of each one's points to the nearest of the other, both ways, in metres."""
    from scipy.spatial import cKDTree  # type: ignore[import-untyped]

    own, other = ([resampled(line) for line in lines] for lines in (truth, found))
    trees = [[cKDTree(points) for points in lines] for lines in (own, other)]
    result = np.zeros((len(own), len(other)))
    for row, points in enumerate(own):
        for column, others in enumerate(other):
            there, back = trees[1][column].query(points)[0], trees[0][row].query(others)[0]
            result[row, column] = (there.mean() + back.mean()) / 2
    return result
