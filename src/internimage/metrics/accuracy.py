"""Accuracy of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from internimage.results.classification import Classification


class Accuracy:
    """Top-1, top-5 and mean per-class accuracy, cross-entropy, and the confusion matrix behind them.

    Args:
        classes: how many there are.
        known: which of the numbers can be told; fewer where the results have no probabilities.
    """

    def __init__(self, classes: int, known: Sequence[str] = ("top1", "top5", "mean_class", "cross_entropy")) -> None:
        self.known = known
        self.confusion = np.zeros((classes, classes), np.int64)  # rows: truth, columns: prediction
        self.top5 = 0
        self.loss = 0.0

    def add(self, result: Classification, label: int) -> None:
        """Count one image."""
        self.add_ranked(np.argsort(-result.probabilities, kind="stable"), label)
        self.loss -= float(np.log(max(float(result.probabilities[label]), 1e-12)))

    def add_ranked(self, order: np.ndarray[Any, Any], label: int) -> None:
        """Count one image of which only the most probable classes are known, best first."""
        self.confusion[label, order[0]] += 1
        self.top5 += int(label in order[:5])

    def state(self) -> tuple[Any, ...]:
        return self.confusion, self.top5, self.loss

    def merge(self, states: Sequence[tuple[Any, ...]]) -> None:
        self.confusion = np.sum([state[0] for state in states], axis=0)
        self.top5 = sum(state[1] for state in states)
        self.loss = float(sum(state[2] for state in states))

    def compute(self) -> dict[str, float]:
        """Shares in [0, 1]; the mean over classes leaves out classes without images."""
        total = int(self.confusion.sum())
        if not total:
            return {}
        correct, of_class = self.confusion.diagonal(), self.confusion.sum(1)
        seen = of_class > 0
        numbers = {
            "top1": float(correct.sum() / total),
            "top5": self.top5 / total,
            "mean_class": float((correct[seen] / of_class[seen]).mean()),
            "cross_entropy": self.loss / total,
        }
        return {name: value for name, value in numbers.items() if name in self.known} | {"images": float(total)}
