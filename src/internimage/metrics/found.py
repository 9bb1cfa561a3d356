"""What evaluations of boxes share: what is in an image, which of it is found, precision by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from internimage.structures.boxes import joined


class Truth(NamedTuple):
    """The objects of one image.

    Attributes:
        size: (height, width) in pixels.
        labels: (M,) int, class numbers.
        boxes: (M, 4) float64, x1, y1, x2, y2 in pixels, edges counted from 0; where a metric says so also in shares of
            the picture's sides.
        ignored: (M,) bool, what is no single object to be found: VOC's difficult ones, crowds, CrowdHuman's ignore
            regions, OpenImages' groups.
    """

    size: tuple[int, int]
    labels: np.ndarray[Any, Any]
    boxes: np.ndarray[Any, Any]
    ignored: np.ndarray[Any, Any]


def numbered(places: Sequence[np.ndarray[Any, Any]], truths: Sequence[Truth]) -> np.ndarray[Any, Any]:
    """Places (K,) of objects in each image as numbers among those of all images, joined; -1, for none, stays."""
    starts = np.cumsum([0, *(len(truth.labels) for truth in truths)])[:-1]
    return joined((np.where(own < 0, -1, own + start) for own, start in zip(places, starts, strict=True)), int)


def best(shares: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Column (K,) of the greatest overlap of each row (K, M), the first of equals, and that overlap; 0, 0 for M = 0."""
    if not shares.shape[1]:
        return np.zeros(len(shares), int), np.zeros(len(shares))
    places = shares.argmax(1)
    return places, shares[np.arange(len(shares)), places]


def first_of_each(objects: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Whether (K,) a detection has the highest score, the first of equals, of those with its object (K,).

    Negative numbers are no objects.
    """
    order = np.argsort(-scores, kind="stable")
    numbers, places = np.unique(objects[order], return_index=True)
    first = np.zeros(len(objects), bool)
    first[order[places[numbers >= 0]]] = True
    return first


class Curve(NamedTuple):
    """Precision and recall of one class.

    Attributes:
        objects: how many there are to be found.
        ap: average precision in [0, 1].
        recall, precision: (K,), a point for each detection that counts, best first.
    """

    objects: int
    ap: float
    recall: np.ndarray[Any, Any]
    precision: np.ndarray[Any, Any]


@dataclass(frozen=True)
class ClassPrecision:
    """Precision of each class that has objects, by its number."""

    curves: dict[int, Curve]

    @property
    def mean(self) -> float:
        """Mean average precision in [0, 1]; NaN if no class has objects."""
        return float(np.mean([curve.ap for curve in self.curves.values()])) if self.curves else float("nan")


def class_precision(
    labels: np.ndarray[Any, Any],
    scores: np.ndarray[Any, Any],
    right: np.ndarray[Any, Any],
    objects: np.ndarray[Any, Any],
    average: Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], float],
) -> ClassPrecision:
    """Precision from the detections of all images that count.

    Args:
        labels, scores, right: (K,) class numbers, scores, and whether a detection finds an object.
        objects: (C,) how many each class has.
        average: average precision of recall (N,), never falling, and precision (N,).
    """
    order = np.lexsort((-scores, labels))
    bounds = np.searchsorted(labels[order], np.arange(len(objects) + 1))
    curves = {}
    for label in np.flatnonzero(objects).tolist():
        hits = np.cumsum(right[order[bounds[label] : bounds[label + 1]]])
        recall, precision = hits / objects[label], hits / np.arange(1, len(hits) + 1)
        curves[label] = Curve(int(objects[label]), average(recall, precision), recall, precision)
    return ClassPrecision(curves)


def area_under_curve(recall: np.ndarray[Any, Any], precision: np.ndarray[Any, Any]) -> float:
    """Area under the precision (N,) made to fall with recall (N,): each the highest of its own and what follows."""
    return float((np.diff(recall, prepend=0.0) * falling(precision)).sum())


def falling(precision: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """For each point (N,) the highest precision there or later."""
    return np.maximum.accumulate(precision[::-1])[::-1]
