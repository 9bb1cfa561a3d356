"""A segmenter measured on images with known classes of pixels."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.data.masks import SegmentedImages
from internimage.drawing.charts import confusion_matrix
from internimage.metrics.classes import class_numbers, percent
from internimage.metrics.mean_iou import MeanIoU
from internimage.results.segmentation import Segmentation
from internimage.writing import save_picture, write_text

if TYPE_CHECKING:
    from internimage.contracts import Pipeline
    from internimage.data.dataset import EvaluationSample


@dataclass
class SegmentationReport:
    """Intersection over union of a segmenter.

    Attributes:
        metric: the counts of all pixels.
        numbers: the data's number of each of the model's classes; one that it has not counts as wrong.
        unreadable: files left out.
    """

    metric: MeanIoU
    numbers: np.ndarray[Any, Any]
    unreadable: list[str] = field(default_factory=list)

    @classmethod
    def on(cls, pipeline: Pipeline, data: SegmentedImages) -> SegmentationReport:
        """An empty report; classes go together by name, or by number where the model has no names and as many.

        Raises:
            DataError: the data has a class that the model does not know.
        """
        numbers = class_numbers(pipeline.labels, pipeline.classes, data.classes, len(data.classes))
        return cls(MeanIoU(data.classes), numbers)

    def add(self, result: Segmentation, sample: EvaluationSample) -> None:
        """Count the pixels of one image; the truth is its map of the data's class numbers."""
        self.metric.add(self.numbers[result.label_map], sample.measured.truth)

    def state(self) -> Any:
        return self.metric.state()

    def merge(self, states: Sequence[Any]) -> None:
        self.metric.merge(states)

    def compute(self) -> dict[str, float]:
        """See :meth:`internimage.metrics.mean_iou.MeanIoU.compute`."""
        return self.metric.compute()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; null where there is nothing to divide by."""
        rows = {name: _finite(row) for name, row in self.metric.per_class().items()}
        return {**_finite(self.metric.compute()), "per_class": rows, "unreadable": self.unreadable}

    def table(self) -> str:
        """The numbers as text."""
        numbers, rows = self.metric.compute(), self.metric.per_class()
        width = max(5, *(len(name) for name in rows))
        lines = [f"{'class':<{width}}  of pixels     IoU  accuracy"]
        for name, row in rows.items():
            iou, accuracy = (percent(row[key]) for key in ("iou", "accuracy"))
            lines.append(f"{name:<{width}}  {row['share']:>9.1%}  {iou:>6}  {accuracy:>8}")
        lines.append(
            f"mIoU {numbers['miou']:.1%}  mAcc {numbers['macc']:.1%}  aAcc {numbers['aacc']:.1%}  "
            f"images {int(numbers['images'])}"
        )
        lines += [f"left out: {name}" for name in self.unreadable]
        return "\n".join(lines)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write metrics.json and confusion.png; return their paths."""
        folder = Path(folder).expanduser()
        numbers = self.metric.compute()
        metrics, confusion = folder / "metrics.json", folder / "confusion.png"
        write_text(metrics, json.dumps(self.to_dict(), indent=2) + "\n")
        shares = self.metric.counts[:-1, :-1] * 1000 // np.maximum(1, self.metric.counts[:-1].sum(1, keepdims=True))
        title = f"mIoU {numbers['miou']:.1%} of {int(numbers['images'])} images; thousandths of a class's pixels"
        save_picture(confusion_matrix(shares, self.metric.classes, title), confusion)
        return [metrics, confusion]


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in numbers.items()}
