"""Detections of one image as plain arrays, and how boxes overlap: what merging and metrics share.  No torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np


class Found(NamedTuple):
    """The detections of one image, in any order.

    Attributes:
        labels: (K,) int, class numbers.
        scores: (K,) float, no NaN.
        boxes: (K, 4) in the unit of the truth.
    """

    labels: np.ndarray[Any, Any]
    scores: np.ndarray[Any, Any]
    boxes: np.ndarray[Any, Any]

    def part(self, places: np.ndarray[Any, Any]) -> Found:
        """The detections at these places, or where a mask (K,) says so."""
        return Found(self.labels[places], self.scores[places], self.boxes[places])


def joined(arrays: Iterable[np.ndarray[Any, Any]], dtype: type) -> np.ndarray[Any, Any]:
    """Arrays (K,) of images one after the other; of no images too."""
    return np.concatenate([np.zeros(0, dtype), *(array.astype(dtype, copy=False) for array in arrays)])


def overlaps(boxes: np.ndarray[Any, Any], others: np.ndarray[Any, Any], added: float = 0.0) -> np.ndarray[Any, Any]:
    """Intersection over union (K, M) of boxes (K, 4) and (M, 4); ``added`` goes to every denominator."""
    common = _intersections(boxes, others)
    return _ratio(common, areas(boxes)[:, None] + areas(others) - common + added)


def insides(boxes: np.ndarray[Any, Any], others: np.ndarray[Any, Any], added: float = 0.0) -> np.ndarray[Any, Any]:
    """Share (K, M) of the area of each of the boxes (K, 4) that lies in each of the others (M, 4)."""
    return _ratio(_intersections(boxes, others), areas(boxes)[:, None] + added)


def areas(boxes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Areas (...) of boxes (..., 4), float64."""
    x1, y1, x2, y2 = np.moveaxis(boxes.astype(np.float64), -1, 0)
    area: np.ndarray[Any, Any] = (x2 - x1) * (y2 - y1)
    return area


def _intersections(boxes: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    x1, y1, x2, y2 = boxes.astype(np.float64).T[..., None]
    left, top, right, bottom = others.astype(np.float64).T
    widths = np.minimum(x2, right) - np.maximum(x1, left)
    heights = np.minimum(y2, bottom) - np.maximum(y1, top)
    return np.maximum(widths, 0) * np.maximum(heights, 0)


def _ratio(part: np.ndarray[Any, Any], whole: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
