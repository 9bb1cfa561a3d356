"""A detector measured on images with known objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from internimage.data.object_dataset import wrong_size
from internimage.drawing.precision_recall import precision_recall_chart
from internimage.errors import DataError, ImageReadError
from internimage.images import ImageSource
from internimage.inference.evaluation import class_numbers, percent
from internimage.results.detections import Detections
from internimage.tasks.average_precision import AveragePrecision

if TYPE_CHECKING:
    from internimage.data.coco import ObjectImage, ObjectImages

_CURVES = 12


class Streams(Protocol):
    """What is asked of a predictor here: names of its classes, and results in order, or the errors in their place."""

    labels: tuple[str, ...] | None

    def stream(self, images: Any) -> Iterator[tuple[ImageSource, object]]: ...


@dataclass
class DetectionReport:
    """Average precision of a detector.

    Attributes:
        metric: the results of all images, see :class:`internimage.tasks.average_precision.AveragePrecision`.
        unreadable: files left out.
    """

    metric: AveragePrecision
    unreadable: list[str] = field(default_factory=list)

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

    def save(self, folder: Path) -> list[Path]:
        """Write metrics.json, precision_recall.png and, with masks, precision_recall_masks.png; return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        numbers, rows = self.metric.compute(), self.metric.per_class()
        written = [folder / "metrics.json"]
        written[0].write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        most = sorted(rows, key=lambda name: -rows[name]["objects"])[:_CURVES]
        for kind in self.metric.kinds if rows else ():
            recall, curves = self.metric.precision_recall(kind)
            classes = [(name, self.metric.truth.classes.index(name), curves[name]) for name in most]
            what, file = ("boxes", "precision_recall") if kind == "bbox" else ("masks", "precision_recall_masks")
            title = f"Precision and recall of {what} at IoU 0.5, {int(numbers['images'])} images"
            written.append(folder / f"{file}.png")
            precision_recall_chart(recall, curves["all"], classes, title).save(written[-1])
        return written


def evaluate_detector(
    predictor: Streams,
    data: ObjectImages,
    *,
    skip_unreadable: bool = False,
    progress: Callable[[Iterable[ObjectImage]], Iterable[ObjectImage]] = iter,
) -> DetectionReport:
    """Predict every image once and compare with its objects; masks too if both have them.

    Classes are matched by name, or by number where the model has no names and the data has as many classes.  Classes
    that only the model knows are left out.

    Raises:
        DataError: the data has a class that the model does not know, or none of its images can be read.
        ImageReadError: a file cannot be read, unless ``skip_unreadable``.
    """
    # a model with names is judged before it works, one without when its first result says how many classes it has
    absent, names = -1, predictor.labels
    numbers = None if names is None else class_numbers(names, len(names), data.classes, absent)
    report: DetectionReport | None = None
    unreadable = []
    outcomes = predictor.stream([one.file for one in data.images])
    for image, (_, outcome) in zip(progress(data.images), outcomes, strict=True):
        if isinstance(outcome, Detections) and (wrong := wrong_size(image, (outcome.size[1], outcome.size[0]))):
            outcome = ImageReadError(f"{image.file}: {wrong}")
        if isinstance(outcome, ImageReadError):
            if not skip_unreadable:
                raise ImageReadError(f"{outcome} (--on-corrupt skip leaves such files out)")
            unreadable.append(str(image.file))
            continue
        if not isinstance(outcome, Detections):
            raise DataError(f"the model gives a {type(outcome).__name__} of each image; expected a detector")
        if numbers is None:
            numbers = class_numbers(None, len(outcome.names), data.classes, absent)
        if report is None:
            report = DetectionReport(
                AveragePrecision(data, data.has_masks and outcome.soft_masks is not None), unreadable
            )
        report.metric.add(_renumbered(outcome, numbers), image.identity)
    if report is None:
        raise DataError(f"{data.name}: none of {len(data.images)} images can be read")
    return report


def _renumbered(result: Detections, numbers: np.ndarray[Any, Any]) -> Detections:
    """The result with the data's numbers of classes, without detections of classes that the data lacks."""
    labels = numbers[result.labels]
    keep = labels >= 0
    soft = None if result.soft_masks is None else result.soft_masks[keep]
    return replace(result, boxes=result.boxes[keep], scores=result.scores[keep], labels=labels[keep], soft_masks=soft)
