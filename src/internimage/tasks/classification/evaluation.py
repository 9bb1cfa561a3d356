"""A classifier measured on labelled images."""

from __future__ import annotations

import heapq
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.data.samples import ImageFile, LabelledImages
from internimage.drawing.canvas import BAD, INK
from internimage.drawing.charts import confusion_matrix, contact_sheet
from internimage.images import show_image
from internimage.metrics.accuracy import Accuracy
from internimage.metrics.classes import match_classes, percent
from internimage.results.classification import Classification
from internimage.writing import json_text, save_picture, write_text

if TYPE_CHECKING:
    from internimage.contracts import Pipeline
    from internimage.data.samples import EvaluationSample

_WORST = 24
_UNKNOWN = -1  # to the model, a class that no image shows
_SHARES = {"top1": "top-1", "top5": "top-5", "mean_class": "mean over classes"}


@dataclass
class ClassificationReport:
    """Accuracies, confusion and the most confident mistakes of a classifier.

    Attributes:
        labels: names of the model's classes.
        numbers: the model's number of each class of the data.
        accuracy: running counts, see :class:`internimage.metrics.accuracy.Accuracy`.
        unreadable: files left out.
        left_out: what else of the data was not measured, a line for each reason.
    """

    labels: tuple[str, ...]
    numbers: tuple[int, ...]
    accuracy: Accuracy
    unreadable: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _mistakes: list[tuple[float, str, ImageFile, str, str]] = field(default_factory=list)

    @classmethod
    def on(cls, pipeline: Pipeline, data: LabelledImages) -> ClassificationReport:
        """An empty report; classes go together by name, or by number where the model has no names and as many.

        Raises:
            DataError: the data shows a class that the model does not know.
        """
        labels = match_classes(pipeline.labels, pipeline.classes, data.classes, data.used())
        number = {name: index for index, name in enumerate(labels)}
        return cls(labels, tuple(number.get(name, _UNKNOWN) for name in data.classes), Accuracy(len(labels)))

    def add(self, result: Classification, sample: EvaluationSample) -> None:
        """Count one image; the truth is the number of its class in the data."""
        truth = self.numbers[sample.measured.truth]
        self.accuracy.add(result, truth)
        best = result.top(1)[0]
        self._keep(best.score, sample.entry.file, truth, best.index)

    def add_ranked(self, file: ImageFile, label: int, order: np.ndarray[Any, Any], score: float) -> None:
        """Count one image of which only the most probable classes are known, best first, and the best one's score."""
        truth = self.numbers[label]
        self.accuracy.add_ranked(order, truth)
        self._keep(score, file, truth, int(order[0]))

    def _keep(self, score: float, file: ImageFile, truth: int, said: int) -> None:
        """A mistake, if it is one of the worst."""
        if said != truth:
            entry = (score, str(file), file, self.labels[truth], self.labels[said])
            (heapq.heappush if len(self._mistakes) < _WORST else heapq.heappushpop)(self._mistakes, entry)

    def state(self) -> Any:
        return self.accuracy.state(), self._mistakes

    def merge(self, states: Sequence[Any]) -> None:
        self.accuracy.merge([accuracy for accuracy, _ in states])
        self._mistakes = heapq.nlargest(_WORST, (one for _, mistakes in states for one in mistakes))
        heapq.heapify(self._mistakes)

    def compute(self) -> dict[str, float]:
        """See :meth:`internimage.metrics.accuracy.Accuracy.compute`."""
        return self.accuracy.compute()

    @property
    def mistakes(self) -> list[tuple[float, ImageFile, str, str]]:
        """(probability of the wrong class, file, truth, prediction), most confident first."""
        return [(score, file, truth, said) for score, _, file, truth, said in sorted(self._mistakes, reverse=True)]

    def per_class(self) -> dict[str, dict[str, float]]:
        """Images, recall and precision of each class that has images or predictions."""
        matrix = self.accuracy.confusion
        rows = {}
        for index, label in enumerate(self.labels):
            images, predicted = int(matrix[index].sum()), int(matrix[:, index].sum())
            if images or predicted:
                hit = int(matrix[index, index])
                rows[label] = {
                    "images": images,
                    "recall": hit / images if images else float("nan"),
                    "precision": hit / predicted if predicted else float("nan"),
                }
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        per_class = {
            label: {key: None if value != value else value for key, value in row.items()}
            for label, row in self.per_class().items()
        }
        return {**self.compute(), "per_class": per_class, "unreadable": self.unreadable, "left_out": self.left_out}

    def table(self) -> str:
        """The numbers as text."""
        numbers = self.compute()
        width = max((len(label) for label in self.per_class()), default=5)
        lines = [f"{'class':<{width}}  images  recall  precision"]
        lines += [
            f"{label:<{width}}  {row['images']:>6}  {percent(row['recall']):>6}  {percent(row['precision']):>9}"
            for label, row in self.per_class().items()
        ]
        total = [f"{name} {numbers[key]:.1%}" for key, name in _SHARES.items() if key in numbers]
        total += [f"cross-entropy {numbers['cross_entropy']:.3f}"] if "cross_entropy" in numbers else []
        lines.append("  ".join([*total, f"images {int(numbers['images'])}"]))
        lines += [f"left out: {name}" for name in self.unreadable] + self.left_out
        return "\n".join(lines)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write metrics.json, confusion.png and worst.png; return their paths."""
        folder = Path(folder).expanduser()
        numbers, mistakes = self.compute(), self.mistakes
        metrics, confusion, worst = (folder / name for name in ("metrics.json", "confusion.png", "worst.png"))
        write_text(metrics, json_text(self.to_dict(), indent=2) + "\n")
        title = f"top-1 {numbers['top1']:.1%} of {int(numbers['images'])} images"
        save_picture(confusion_matrix(self.accuracy.confusion, self.labels, title), confusion)
        if not mistakes:
            return [metrics, confusion]
        pictures = [
            (show_image(file), [(f"is {truth}", INK), (f"said {said} {score:.0%}", BAD)])
            for score, file, truth, said in mistakes
        ]
        save_picture(contact_sheet(pictures, title="Most confident mistakes"), worst)
        return [metrics, confusion, worst]
