"""CrowdHuman's numbers of a detector of persons: AP, MR-2 and JI, as the data set's own tool computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from internimage.errors import MissingExtraError
from internimage.metrics.found import Truth, best
from internimage.structures.boxes import Found, insides, joined, overlaps

OVERLAP = 0.5
ADDED = 1e-6  # to the tool's denominators
FALSE_PER_IMAGE = np.array([0.01, 0.0178, 0.0316, 0.0562, 0.1, 0.1778, 0.3162, 0.5623, 1.0])
"""Where MR-2 takes the miss rate."""

SCORES = np.arange(10) / 10
"""JI is computed of the detections above each."""


@dataclass(frozen=True)
class CrowdHumanNumbers:
    """Numbers in [0, 1]; NaN where there is no person.

    Attributes:
        ap: average precision.
        miss_rate: MR-2, the geometric mean of the miss rate at 0.01 to 1 false detections an image; less is better.
        jaccard: JI, persons found among persons and detections, the greatest of ``jaccards``.
        jaccards: (10,) of the detections with a score above 0, 0.1, ... 0.9.
        recall: share of the persons that are found.
        persons: how many there are, ignored ones left out.
    """

    ap: float
    miss_rate: float
    jaccard: float
    jaccards: np.ndarray[Any, Any]
    recall: float
    persons: int


class _Counted(NamedTuple):
    """One image.

    Attributes:
        scores, right: (K,) of the detections that count, best first, and whether they find a person.
        persons: how many there are.
        shares: (10,) persons found among persons and detections, by score; NaN where there are none.
    """

    scores: np.ndarray[Any, Any]
    right: np.ndarray[Any, Any]
    persons: int
    shares: np.ndarray[Any, Any]


def crowd_human_numbers(truths: Sequence[Truth], founds: Sequence[Found]) -> CrowdHumanNumbers:
    """AP, MR-2 and JI of full boxes, each truth and detection one of a person whatever its label.

    A person is found at an IoU of more than 0.5.  Detections that find none, and lie by more than half in an ignore
    region, do not count.

    Args:
        truths: images, with boxes in pixels that may leave the picture; ``ignored`` are regions (masks) and ignored
            persons.
        founds: their detections, in the same order.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    images = [_counted(truth, found) for truth, found in zip(truths, founds, strict=True)]
    persons = sum(image.persons for image in images)
    if not persons:
        nothing = float("nan")
        return CrowdHumanNumbers(nothing, nothing, nothing, np.full(len(SCORES), nothing), nothing, 0)
    order = np.argsort(-joined((image.scores for image in images), float), kind="stable")
    hits = np.cumsum(joined((image.right for image in images), bool)[order])
    number = np.arange(1, len(hits) + 1)
    recall, precision = hits / persons, hits / number
    # the tool leaves out the strip from recall 0 to the first point
    ap = float((np.diff(recall) * (precision[1:] + precision[:-1]) / 2).sum())
    miss_rate = _miss_rate((number - hits) / len(images), recall)
    shares = np.array([image.shares for image in images])
    known = ~np.isnan(shares)
    jaccards = np.full(len(SCORES), np.nan)
    np.divide(np.nansum(shares, 0), known.sum(0), out=jaccards, where=known.any(0))
    reached = float(recall[-1]) if len(recall) else 0.0
    return CrowdHumanNumbers(ap, miss_rate, float(np.fmax.reduce(jaccards)), jaccards, reached, persons)


def _counted(truth: Truth, found: Found) -> _Counted:
    order = np.argsort(-found.scores, kind="stable")
    scores = found.scores[order]
    boxes, objects = _clipped(found.boxes[order], truth.size), _clipped(truth.boxes, truth.size)
    persons, regions = objects[~truth.ignored], objects[truth.ignored]
    pairs = overlaps(boxes, persons, ADDED)
    pairs[pairs <= OVERLAP] = 0
    inside, beside = (best(insides(own, regions, ADDED))[1] > OVERLAP for own in (boxes, persons))
    right = _greedy(pairs)
    counted = right | ~inside
    shares = [_jaccard(pairs[:shown], inside[:shown], beside) for shown in np.searchsorted(-scores, -SCORES)]
    return _Counted(scores[counted], right[counted], len(persons), np.array(shares))


def _clipped(boxes: np.ndarray[Any, Any], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Boxes inside the picture; left and upper edges at most at its last pixel, as the tool has it."""
    height, width = size
    limits = np.array([width - 1, height - 1, width, height])
    return np.clip(boxes.astype(np.float64), 0, limits)


def _greedy(pairs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Whether (K,) each detection, in turn, finds a person that is free: that of the greatest overlap (K, M)."""
    found, free = np.zeros(len(pairs), bool), np.ones(pairs.shape[1], bool)
    for row in np.flatnonzero(pairs.any(1)).tolist():
        shares = pairs[row] * free
        place = shares.argmax()
        if shares[place]:
            found[row], free[place] = True, False
    return found


def _miss_rate(false: np.ndarray[Any, Any], recall: np.ndarray[Any, Any]) -> float:
    """MR-2 of false detections an image (N,) and recall (N,): each taken at the first point that reaches it."""
    if not len(recall):
        return 1.0
    places = np.minimum(np.searchsorted(false, FALSE_PER_IMAGE), len(recall) - 1)
    with np.errstate(divide="ignore"):  # nothing is missed: the mean is 0
        return float(np.exp(np.log(1 - recall[places]).mean()))


def _jaccard(pairs: np.ndarray[Any, Any], inside: np.ndarray[Any, Any], beside: np.ndarray[Any, Any]) -> float:
    """Pairs of detections and persons (K, M) among all of them; those alone in an ignore region (K,) and (M,) do not
    count.
    """
    rows, columns = _assigned(pairs)
    detections = len(rows) + int((~np.delete(inside, rows)).sum())
    persons = len(rows) + int((~np.delete(beside, columns)).sum())
    if not detections and not persons:
        return float("nan")
    return len(rows) / (detections + persons - len(rows) + ADDED)


def _assigned(pairs: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Rows and columns of the pairs (K, M) with the greatest sum of overlaps."""
    try:
        from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("CrowdHuman's JI needs scipy: pip install 'internimage[train]'") from error
    near, beside = np.flatnonzero(pairs.any(1)), np.flatnonzero(pairs.any(0))
    chosen = pairs[np.ix_(near, beside)]
    rows, columns = linear_sum_assignment(chosen, maximize=True)
    real = chosen[rows, columns] > 0
    return near[rows[real]], beside[columns[real]]
