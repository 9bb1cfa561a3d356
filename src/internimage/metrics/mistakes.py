"""Found, missed and false objects of a detector at a score threshold, and which classes it takes for which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from internimage.data.objects import ObjectImage
from internimage.structures.boxes import insides, overlaps

IOU = 0.5
FALSE, IGNORED = -1, -2
_THRESHOLDS = np.arange(1, 100) / 100
_USUAL = 0.3  # where nothing is found at any threshold


@dataclass(frozen=True)
class Matched:
    """What became of the detections in one image.

    Attributes:
        image: with its objects.
        labels, scores, boxes: (K,), (K,) and (K, 4) of the detections.
        objects: (K,) place of the object that a detection finds, ``FALSE`` if it finds none, ``IGNORED`` in a crowd.
    """

    image: ObjectImage
    labels: np.ndarray[Any, Any]
    scores: np.ndarray[Any, Any]
    boxes: np.ndarray[Any, Any]
    objects: np.ndarray[Any, Any]

    def shown(self, threshold: float) -> np.ndarray[Any, Any]:
        """Places of the detections with at least this score that are no part of a crowd, best first."""
        kept = np.flatnonzero((self.scores >= threshold) & (self.objects != IGNORED))
        return kept[np.argsort(-self.scores[kept], kind="stable")]

    def missed(self, threshold: float) -> list[int]:
        """Places of the objects that no detection with at least this score finds, crowds left out."""
        found = set(self.objects[self.scores >= threshold].tolist())
        return [place for place, one in enumerate(self.image.objects) if not one.crowd and place not in found]

    def false(self, threshold: float) -> list[int]:
        """Places of the detections with at least this score that find nothing, best first."""
        return [place for place in self.shown(threshold).tolist() if self.objects[place] == FALSE]


@dataclass(frozen=True)
class Mistakes:
    """Mistakes at a score threshold: boxes match by IoU 0.5, greedily, the best score first, within a class.

    Attributes:
        images: all of them.
        classes: how many there are.
        threshold: minimum score of the detections that count.
    """

    images: Sequence[Matched]
    classes: int
    threshold: float

    @cached_property
    def confusion(self) -> np.ndarray[Any, Any]:
        """(C + 1, C + 1) counts, rows by true, columns by predicted class, the last of each for "nothing".

        The last column counts missed objects, the last row false detections.  A missed object and a false detection
        of another class that match by IoU are one mistake: the object was taken for another class.
        """
        counts = np.zeros((self.classes + 1,) * 2, np.int64)
        for one in self.images:
            truth = np.array([each.label for each in one.image.objects], int)
            missed, false = one.missed(self.threshold), one.false(self.threshold)
            found = one.objects[(one.scores >= self.threshold) & (one.objects >= 0)]
            for label in truth[found].tolist():
                counts[label, label] += 1
            boxes = np.array([one.image.objects[place].box for place in missed]).reshape(-1, 4)
            pairs = _greedy(overlaps(one.boxes[false], boxes), np.zeros(len(missed), bool))
            for place, other in zip(false, pairs.tolist(), strict=True):
                counts[truth[missed[other]] if other != FALSE else -1, one.labels[place]] += 1
            for number in set(range(len(missed))) - set(pairs.tolist()):
                counts[truth[missed[number]], -1] += 1
        return counts

    def per_class(self) -> list[dict[str, int]]:
        """Numbers "found", "missed" and "false" of each class."""
        found = np.diag(self.confusion)[:-1]
        missed, false = (self.confusion.sum(axis)[:-1] - found for axis in (1, 0))
        rows = zip(found.tolist(), missed.tolist(), false.tolist(), strict=True)
        return [{"found": hits, "missed": misses, "false": others} for hits, misses, others in rows]

    def compute(self) -> dict[str, float]:
        """ "score_threshold", and "precision", "recall" and "f1" there of all classes together; NaN for nothing."""
        rows = self.per_class()
        found, missed, false = (sum(row[name] for row in rows) for name in ("found", "missed", "false"))
        shares = [(found, found + false), (found, found + missed), (2 * found, 2 * found + missed + false)]
        precision, recall, f1 = (part / whole if whole else float("nan") for part, whole in shares)
        return {"score_threshold": self.threshold, "precision": precision, "recall": recall, "f1": f1}

    def worst(self, most: int) -> list[Matched]:
        """The images with the most mistakes, at most so many, none without."""
        counts = [len(one.missed(self.threshold)) + len(one.false(self.threshold)) for one in self.images]
        order = np.argsort(-np.array(counts, int), kind="stable")[:most]
        return [self.images[place] for place in order.tolist() if counts[place]]


def find_mistakes(
    found: Iterable[tuple[ObjectImage, np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]],
    classes: int,
    threshold: float | None = None,
) -> Mistakes:
    """Match detections with objects.

    Args:
        found: image, labels, scores and boxes (xyxy) of its detections.
        classes: how many there are.
        threshold: minimum score; None for the hundredth with the best F1 of all classes together.
    """
    images = [Matched(*one, match(*one)) for one in found]
    return Mistakes(images, classes, best_threshold(images) if threshold is None else threshold)


def match(
    image: ObjectImage, labels: np.ndarray[Any, Any], scores: np.ndarray[Any, Any], boxes: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """The object (K,) of each detection, see :class:`Matched`; as COCO's evaluation matches them at IoU 0.5."""
    crowd = np.array([one.crowd for one in image.objects], bool)
    truth = np.array([one.box for one in image.objects], np.float64).reshape(-1, 4)
    order = np.argsort(-scores, kind="stable")
    shares = np.where(crowd, insides(boxes[order], truth), overlaps(boxes[order], truth))
    shares[labels[order, None] != np.array([one.label for one in image.objects], int)] = 0
    objects = np.empty(len(order), int)
    objects[order] = _greedy(shares, crowd)
    return objects


def best_threshold(images: Sequence[Matched]) -> float:
    """The hundredth at which the F1 of all detections is best; the highest of equally good ones."""
    pairs = [(one.scores[one.objects != IGNORED], one.objects[one.objects != IGNORED] >= 0) for one in images]
    scores, right = (np.concatenate([pair[i] for pair in pairs] or [np.zeros(0)]) for i in (0, 1))
    objects = sum(not one.crowd for image in images for one in image.image.objects)
    order = np.argsort(scores)
    left_out = np.searchsorted(scores[order], _THRESHOLDS.astype(scores.dtype))
    lost = np.concatenate([[0], right[order].cumsum()])[left_out]
    f1 = 2 * (right.sum() - lost) / np.maximum(1, len(scores) - left_out + objects)
    return float(_THRESHOLDS[np.flatnonzero(f1 == f1.max())[-1]]) if f1.max() else _USUAL


def _greedy(shares: np.ndarray[Any, Any], crowd: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """For each row (K,), in turn, the free column of the largest share; a crowd is never used up."""
    chosen, free = np.full(len(shares), FALSE), ~crowd
    near = shares >= IOU
    for row in np.flatnonzero(near.any(1)).tolist():
        fitting = np.flatnonzero(near[row] & free)
        if len(fitting):
            share = shares[row, fitting]
            place = fitting[np.flatnonzero(share == share.max())[-1]]  # of equals the last, as COCO does
            chosen[row], free[place] = place, False
        elif (near[row] & crowd).any():
            chosen[row] = IGNORED
    return chosen
