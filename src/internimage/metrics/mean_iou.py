"""Intersection over union of classes, from a table of counts that grows no further whatever the number of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from internimage.images.masks import UNKNOWN


class MeanIoU:
    """Counts pixels by true and predicted class, as mmsegmentation's evaluation does.

    Unknown pixels (-1) are left out.  Pixels that are said to be of a class that there is not count as wrongly
    predicted where a class is predicted for them, and as missed nowhere.

    Args:
        classes: names; a model may have more outputs, whose predictions are wrong wherever they are.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.images = 0
        # rows are true classes and "another one", columns predictions and "another one"
        self.counts = np.zeros((len(self.classes) + 1,) * 2, np.int64)

    def add(self, label_map: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> None:
        """One image: predicted and true class numbers (H, W)."""
        if label_map.shape != truth.shape:
            raise ValueError(f"a label map of {label_map.shape} for a truth of {truth.shape}; expected one size")
        other, known = len(self.classes), truth != UNKNOWN
        true, found = truth[known].astype(np.int64), label_map[known].astype(np.int64)
        true[(true < 0) | (true > other)] = other
        found[found > other] = other
        size = other + 1
        self.counts += np.bincount(true * size + found, minlength=size * size).reshape(size, size)
        self.images += 1

    def state(self) -> Any:
        return self.counts, self.images

    def merge(self, states: Sequence[Any]) -> None:
        self.counts = np.sum([counts for counts, _ in states], axis=0)
        self.images = sum(images for _, images in states)

    def per_class(self) -> dict[str, dict[str, float]]:
        """By name: "iou", "accuracy" (NaN where there is nothing to divide by) and the share of all pixels, "share"."""
        inside = self.counts[:-1, :-1]
        hits, true, found = np.diag(inside), self.counts[:-1].sum(1), self.counts[:, :-1].sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            iou, accuracy, share = hits / (true + found - hits), hits / true, true / max(1, true.sum())
        return {
            name: {"iou": float(iou[i]), "accuracy": float(accuracy[i]), "share": float(share[i])}
            for i, name in enumerate(self.classes)
        }

    def compute(self) -> dict[str, float]:
        """Means over classes that occur, "miou" and "macc", the share of pixels that are right, "aacc", and images."""
        rows = self.per_class().values()
        true = self.counts[:-1].sum()
        return {
            "miou": _mean([row["iou"] for row in rows]),
            "macc": _mean([row["accuracy"] for row in rows]),
            "aacc": float(np.diag(self.counts[:-1, :-1]).sum() / true) if true else float("nan"),
            "images": float(self.images),
        }


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
