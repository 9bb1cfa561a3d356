"""PASCAL VOC's average precision, as its development kits compute it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from internimage.metrics.found import (
    ClassPrecision,
    Truth,
    area_under_curve,
    best,
    class_precision,
    falling,
    first_of_each,
    numbered,
)
from internimage.structures.boxes import Found, joined, overlaps

IOU = 0.5


def voc_precision(
    truths: Sequence[Truth], founds: Sequence[Found], classes: int, rule: Literal["11 points", "area"]
) -> ClassPrecision:
    """Average precision of each class by the rule of VOC's development kits.

    A detection belongs to the object of its class that it overlaps most, difficult or not, from IoU 0.5 on.  It does
    not count if that one is difficult, and is wrong if another with a higher score belongs to it too.  Boxes are
    (xmin - 1, ymin - 1, xmax, ymax) of VOC's files, whose last pixel is inside.

    Args:
        truths: images; difficult objects are ``ignored``.
        founds: their detections, in the same order.
        classes: how many there are.
        rule: "11 points", the mean of the highest precision from recall 0, 0.1, ... on, for VOC 2007; "area" under
            the curve since 2010.
    """
    near = [_nearest(truth, found) for truth, found in zip(truths, founds, strict=True)]
    objects = numbered(near, truths)
    labels, scores = joined((found.labels for found in founds), int), joined((found.scores for found in founds), float)
    ignored = joined((truth.ignored for truth in truths), bool)
    # those of no object, -1, find the last, which is not ignored
    counted = ~np.append(ignored, False)[objects]
    right = first_of_each(objects[counted], scores[counted])
    counts = np.bincount(joined((truth.labels for truth in truths), int)[~ignored], minlength=classes)
    average = area_under_curve if rule == "area" else _eleven_points
    return class_precision(labels[counted], scores[counted], right, counts, average)


def _nearest(truth: Truth, found: Found) -> np.ndarray[Any, Any]:
    """Place (K,) of the object that each detection belongs to; -1 for none."""
    shares = overlaps(found.boxes, truth.boxes)
    shares[found.labels[:, None] != truth.labels] = 0
    places, share = best(shares)
    return np.where(share >= IOU, places, -1)


def _eleven_points(recall: np.ndarray[Any, Any], precision: np.ndarray[Any, Any]) -> float:
    # products and no decimals: a recall of 3/10 is less than 3 * 0.1, and the kit's numbers have it so
    thresholds = np.arange(11) * 0.1
    highest = np.append(falling(precision), 0.0)
    return float(highest[np.searchsorted(recall, thresholds)].mean())
