"""A detector measured on images with known objects."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.data.objects import ObjectImages
from internimage.drawing.precision_recall import precision_recall_chart
from internimage.metrics.average_precision import AveragePrecision
from internimage.metrics.classes import class_numbers, percent
from internimage.results.detections import Detections
from internimage.writing import save_picture, write_text

if TYPE_CHECKING:
    from internimage.data.dataset import EvaluationSample

_CURVES = 12
_ABSENT = -1


@dataclass
class DetectionReport:
    """Average precision of a detector.

    Attributes:
        metric: the results of all images, see :class:`internimage.metrics.average_precision.AveragePrecision`.
        numbers: the data's number of each of the model's classes, -1 for none.
        unreadable: files left out.
    """

    metric: AveragePrecision
    numbers: np.ndarray[Any, Any]
    unreadable: list[str] = field(default_factory=list)

    @classmethod
    def on(cls, pipeline: Any, data: ObjectImages, *, masks: bool | None = None) -> DetectionReport:
        """An empty report; classes go together by name, or by number where the model has no names and as many.

        Classes that only the model knows are left out.  ``masks`` None measures them if model and data have some.

        Raises:
            DataError: the data has a class that the model does not know.
        """
        numbers = class_numbers(pipeline.labels, pipeline.classes, data.classes, _ABSENT)
        masks = pipeline.has_masks and data.has_masks if masks is None else masks
        return cls(AveragePrecision(data, masks), numbers)

    def add(self, result: Detections, sample: EvaluationSample) -> None:
        """Count one image; the truth is its number in the annotations."""
        self.metric.add(_renumbered(result, self.numbers), sample.measured.truth)

    def state(self) -> Any:
        return self.metric.state()

    def merge(self, states: Sequence[Any]) -> None:
        self.metric.merge(states)

    def compute(self) -> dict[str, float]:
        """See :meth:`internimage.metrics.average_precision.AveragePrecision.compute`."""
        return self.metric.compute()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**self.metric.compute(), "per_class": self.metric.per_class(), "unreadable": self.unreadable}

    def table(self) -> str:
        """The numbers as text."""
        numbers, rows = self.metric.compute(), self.metric.per_class()
        columns = {"box_ap": "box AP", "box_ap50": "box AP50", "mask_ap": "mask AP", "mask_ap50": "mask AP50"}
        if "segm" not in self.metric.kinds:
            columns = {key: heading for key, heading in columns.items() if key.startswith("box")}
        width = max((len(name) for name in rows), default=5)
        lines = ["  ".join([f"{'class':<{width}}", "objects", *columns.values()])]
        for name, row in rows.items():
            cells = [f"{percent(row[key]):>{len(heading)}}" for key, heading in columns.items()]
            lines.append("  ".join([f"{name:<{width}}", f"{int(row['objects']):>7}", *cells]))
        totals = [f"{heading} {numbers[key]:.1%}" for key, heading in columns.items() if key in numbers]
        lines.append("  ".join([*totals, f"images {int(numbers['images'])}"]))
        lines += [f"left out: {name}" for name in self.unreadable]
        return "\n".join(lines)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write metrics.json, precision_recall.png and, with masks, precision_recall_masks.png; return their paths."""
        folder = Path(folder).expanduser()
        numbers, rows = self.metric.compute(), self.metric.per_class()
        written = [folder / "metrics.json"]
        write_text(written[0], json.dumps(self.to_dict(), indent=2) + "\n")
        most = sorted(rows, key=lambda name: -rows[name]["objects"])[:_CURVES]
        for kind in self.metric.kinds if rows else ():
            recall, curves = self.metric.precision_recall(kind)
            classes = [(name, self.metric.truth.classes.index(name), curves[name]) for name in most]
            what, file = ("boxes", "precision_recall") if kind == "bbox" else ("masks", "precision_recall_masks")
            title = f"Precision and recall of {what} at IoU 0.5, {int(numbers['images'])} images"
            written.append(folder / f"{file}.png")
            save_picture(precision_recall_chart(recall, curves["all"], classes, title), written[-1])
        return written


def _renumbered(result: Detections, numbers: np.ndarray[Any, Any]) -> Detections:
    """The result with the data's numbers of classes, without detections of classes that the data lacks."""
    labels = numbers[result.labels]
    keep = labels != _ABSENT
    soft = None if result.soft_masks is None else result.soft_masks[keep]
    return replace(result, boxes=result.boxes[keep], scores=result.scores[keep], labels=labels[keep], soft_masks=soft)
