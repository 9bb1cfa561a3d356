"""What detections find, miss and make up at a score threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from internimage.driving.geometry.boxes import Numbers
from internimage.driving.metrics.nuscenes import DetectionScore

_THRESHOLDS = np.arange(1, 100) / 100
_USUAL = 0.3  # where nothing is found at any threshold


@dataclass(frozen=True, eq=False)
class Mistakes:
    """Counts at a score threshold; boxes match as in the score, at the distance of its errors.

    Attributes:
        threshold: minimum score of the detections that count.
        found, missed, false: (C,) of each class.
        missed_in, false_in: (S,) of each sample, in the order of the score's ``tokens``.
    """

    threshold: float
    found: Numbers
    missed: Numbers
    false: Numbers
    missed_in: Numbers
    false_in: Numbers

    def compute(self) -> dict[str, float]:
        """ "score_threshold", and "precision", "recall" and "f1" there of all classes together; NaN for nothing."""
        found, missed, false = (int(one.sum()) for one in (self.found, self.missed, self.false))
        shares = [(found, found + false), (found, found + missed), (2 * found, 2 * found + missed + false)]
        precision, recall, f1 = (part / whole if whole else float("nan") for part, whole in shares)
        return {"score_threshold": self.threshold, "precision": precision, "recall": recall, "f1": f1}

    def worst(self, most: int) -> list[int]:
        """Places of the samples with the most mistakes, at most so many, none without."""
        counts = self.missed_in + self.false_in
        return [place for place in np.argsort(-counts, kind="stable")[:most].tolist() if counts[place]]


def find_mistakes(score: DetectionScore, threshold: float | None = None) -> Mistakes:
    """The mistakes at a threshold; None for the hundredth with the best F1, the highest of equally good ones."""
    classes = [score.matches(label, score.rules.error_distance) for label in range(len(score.classes))]
    if threshold is None:
        scores, hits = (np.concatenate([getattr(one, name) for one in classes]) for name in ("scores", "hits"))
        threshold = _best_threshold(scores, hits, sum(one.objects for one in classes))
    samples = [score.sample(token) for token in score.tokens]
    missed_in = np.array([len(one.truth) for one in samples], np.int64)
    false_in = np.zeros(len(samples), np.int64)
    found, false = np.zeros((2, len(classes)), np.int64)
    for label, one in enumerate(classes):
        shown = one.scores >= threshold
        right, wrong = one.samples[shown & one.hits], one.samples[shown & ~one.hits]
        found[label], false[label] = len(right), len(wrong)
        missed_in -= np.bincount(right, minlength=len(samples))
        false_in += np.bincount(wrong, minlength=len(samples))
    missed = np.array([one.objects for one in classes], np.int64) - found
    return Mistakes(threshold, found, missed, false, missed_in, false_in)


def _best_threshold(
    scores: np.ndarray[tuple[int], np.dtype[np.float64]],
    hits: np.ndarray[tuple[int], np.dtype[np.bool_]],
    objects: int,
) -> float:
    order = np.argsort(scores)
    below = np.searchsorted(scores[order], _THRESHOLDS)
    lost = np.concatenate([[0], hits[order].cumsum()])[below]
    f1 = 2 * (hits.sum() - lost) / np.maximum(1, len(scores) - below + objects)
    return float(_THRESHOLDS[np.flatnonzero(f1 == f1.max())[-1]]) if f1.max() else _USUAL
