"""A segmenter measured on images with known classes of pixels."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.data.region_dataset import wrong_mask_size
from internimage.drawing.charts import confusion_matrix
from internimage.errors import DataError, ImageReadError
from internimage.inference.evaluation import class_numbers, percent
from internimage.results import Segmentation
from internimage.tasks.mean_iou import MeanIoU

if TYPE_CHECKING:
    from internimage.data.regions import RegionImage, RegionImages
    from internimage.inference.object_evaluation import Streams


@dataclass
class SegmentationReport:
    """Intersection over union of a segmenter.

    Attributes:
        metric: the counts of all pixels.
        unreadable: files left out.
    """

    metric: MeanIoU
    unreadable: list[str] = field(default_factory=list)

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

    def save(self, folder: Path) -> list[Path]:
        """Write metrics.json and confusion.png; return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        numbers = self.metric.compute()
        metrics, confusion = folder / "metrics.json", folder / "confusion.png"
        metrics.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        shares = self.metric.counts[:-1, :-1] * 1000 // np.maximum(1, self.metric.counts[:-1].sum(1, keepdims=True))
        title = f"mIoU {numbers['miou']:.1%} of {int(numbers['images'])} images; thousandths of a class's pixels"
        confusion_matrix(shares, self.metric.classes, title).save(confusion)
        return [metrics, confusion]


def evaluate_segmenter(
    predictor: Streams,
    data: RegionImages,
    *,
    skip_unreadable: bool = False,
    progress: Callable[[Iterable[RegionImage]], Iterable[RegionImage]] = iter,
) -> SegmentationReport:
    """Predict every image once and compare with its mask.

    Classes are matched by name, or by number where the model has no names and the data has as many classes.  Pixels
    that are said to be of a class that the data lacks are wrong.

    Raises:
        DataError: the data has a class that the model does not know, or none of its images can be read.
        ImageReadError: a file cannot be read, unless ``skip_unreadable``.
    """
    absent, names = len(data.classes), predictor.labels
    numbers = None if names is None else class_numbers(names, len(names), data.classes, absent)
    report = SegmentationReport(MeanIoU(data.classes))
    outcomes = predictor.stream([one.file for one in data.images])
    for image, (_, outcome) in zip(progress(data.images), outcomes, strict=True):
        truth = None
        try:
            if isinstance(outcome, ImageReadError):
                raise outcome
            if not isinstance(outcome, Segmentation):
                raise DataError(f"the model gives a {type(outcome).__name__} of each image; expected a segmenter")
            truth = data.truth(image)
            height, width = outcome.size
            if wrong := wrong_mask_size(image, (width, height), (truth.shape[0], truth.shape[1])):
                raise ImageReadError(f"{image.file}: {wrong}")
        except ImageReadError as error:
            if not skip_unreadable:
                raise ImageReadError(f"{error} (--on-corrupt skip leaves such files out)") from None
            report.unreadable.append(str(image.file))
            continue
        if numbers is None:
            numbers = class_numbers(None, len(outcome.names), data.classes, absent)
        report.metric.add(numbers[outcome.label_map], truth)
    if not report.metric.images:
        raise DataError(f"{data.name}: none of {len(data.images)} images can be read")
    return report


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in numbers.items()}
