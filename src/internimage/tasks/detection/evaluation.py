"""A detector measured on images with known objects."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.data.formats.set_results import read_results
from internimage.data.objects import ObjectImages
from internimage.drawing.charts import confusion_matrix
from internimage.drawing.precision_recall import precision_recall_chart
from internimage.metrics.average_precision import AveragePrecision
from internimage.metrics.classes import class_numbers, percent
from internimage.metrics.coco import COUNTED
from internimage.metrics.mistakes import IOU, Mistakes
from internimage.metrics.sets.rules import MAIN, RULES
from internimage.results.detections import Detections
from internimage.settings.views import ReportOptions
from internimage.tasks.detection.worst import MOST, worst_sheet
from internimage.writing import json_text, save_picture, write_text

if TYPE_CHECKING:
    from internimage.data.samples import EvaluationSample

_CURVES = 12
_SHARES = {"precision": "precision", "recall": "recall", "f1": "F1"}
_ABSENT = -1


@dataclass
class DetectionReport:
    """Average precision of a detector, and its mistakes at a score threshold.

    Attributes:
        metric: the results of all images, see :class:`internimage.metrics.average_precision.AveragePrecision`.
        numbers: the data's number of each of the model's classes, -1 for none.
        unreadable: files left out.
        left_out: what else of the data was not measured, a line for each reason.
        score_threshold: minimum score of the objects that count as found or false; None for the best F1.
    """

    metric: AveragePrecision
    numbers: np.ndarray[Any, Any]
    unreadable: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    score_threshold: float | None = None
    _mistakes: Mistakes | None = None

    @classmethod
    def on(
        cls, pipeline: Any, data: ObjectImages, *, masks: bool | None = None, score_threshold: float | None = None
    ) -> DetectionReport:
        """An empty report; classes go together by name, or by number where the model has no names and as many.

        Classes that only the model knows are left out, and those that it need not know because nothing shows them, as
        in large sets.  ``masks`` None measures them if model and data have some.

        Raises:
            DataError: the data shows a class that the model does not know.
        """
        numbers = class_numbers(pipeline.labels, pipeline.classes, data.classes, _ABSENT, data.used())
        masks = pipeline.has_masks and data.has_masks if masks is None else masks
        return cls(AveragePrecision(data, masks, pipeline.max_objects), numbers, score_threshold=score_threshold)

    def add(self, result: Detections, sample: EvaluationSample) -> None:
        """Count one image; the truth is its number in the annotations."""
        self.metric.add(_renumbered(result, self.numbers), sample.measured.truth)
        self._mistakes = None

    def state(self) -> Any:
        return self.metric.state()

    def merge(self, states: Sequence[Any]) -> None:
        self.metric.merge(states)
        self._mistakes = None

    def compute(self) -> dict[str, float]:
        """See :meth:`internimage.metrics.average_precision.AveragePrecision.compute`."""
        return self.metric.compute()

    @property
    def mistakes(self) -> Mistakes:
        """What is found, missed and false at the score threshold."""
        if self._mistakes is None:
            self._mistakes = self.metric.mistakes(self.score_threshold)
        return self._mistakes

    def per_class(self) -> dict[str, dict[str, float]]:
        """objects, found, missed, false, box_ap, ... of each class with objects or false detections."""
        measured = self.metric.per_class()
        counts = zip(self.metric.truth.classes, self.mistakes.per_class(), strict=True)
        return {
            name: {"objects": 0.0, **row, **measured.get(name, {})}
            for name, row in counts
            if name in measured or row["false"]
        }

    def confusion(self) -> tuple[np.ndarray[Any, Any], list[str]]:
        """See :attr:`internimage.metrics.mistakes.Mistakes.confusion`; of the classes that occur, and their names."""
        matrix, names = self.mistakes.confusion, [*self.metric.truth.classes, "nothing"]
        occur = np.flatnonzero(matrix.sum(0) + matrix.sum(1) + (np.arange(len(names)) == len(names) - 1))
        return matrix[np.ix_(occur, occur)], [names[place] for place in occur]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; null where there is nothing to divide by."""
        matrix, names = self.confusion()
        mistakes, threshold = self.mistakes, self.mistakes.threshold
        worst = [
            {"image": str(one.image.file), "missed": len(one.missed(threshold)), "false": len(one.false(threshold))}
            for one in mistakes.worst(MOST)
        ]
        return {
            **self.metric.compute(),
            **{name: None if value != value else value for name, value in mistakes.compute().items()},
            "per_class": self.per_class(),
            "confusion": {"classes": names, "counts": matrix.tolist()},
            "worst": worst,
            "unreadable": self.unreadable,
            "left_out": self.left_out,
        }

    def table(self) -> str:
        """The numbers as text."""
        numbers, rows = self.metric.compute(), self.per_class()
        columns = {"box_ap": "box AP", "box_ap50": "box AP50", "mask_ap": "mask AP", "mask_ap50": "mask AP50"}
        if "segm" not in self.metric.kinds:
            columns = {key: heading for key, heading in columns.items() if key.startswith("box")}
        width = max((len(name) for name in rows), default=5)
        counted = ("objects", "found", "missed", "false")
        lines = ["  ".join([f"{'class':<{width}}", *counted, *columns.values()])]
        for name, row in rows.items():
            cells = [f"{int(row[key]):>{len(key)}}" for key in counted]
            cells += [f"{percent(row.get(key, math.nan)):>{len(heading)}}" for key, heading in columns.items()]
            lines.append("  ".join([f"{name:<{width}}", *cells]))
        lines.append(self._at_threshold())
        totals = [f"{heading} {numbers[key]:.1%}" for key, heading in columns.items() if key in numbers]
        lines.append("  ".join([*totals, f"images {int(numbers['images'])}"]))
        lines += self._by_own_rule(numbers) + self._crowded(numbers)
        lines += [f"left out: {name}" for name in self.unreadable] + self.left_out
        return "\n".join(lines)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write metrics.json, precision_recall.png, with masks precision_recall_masks.png, confusion.png and worst.png.

        Returns their paths; without mistakes there is no worst.png.
        """
        folder = Path(folder).expanduser()
        numbers, rows = self.metric.compute(), self.metric.per_class()
        confusion, worst = folder / "confusion.png", folder / "worst.png"
        written = [folder / "metrics.json"]
        write_text(written[0], json_text(self.to_dict(), indent=2) + "\n")
        most = sorted(rows, key=lambda name: -rows[name]["objects"])[:_CURVES]
        for kind in self.metric.kinds if rows else ():
            recall, curves = self.metric.precision_recall(kind)
            classes = [(name, self.metric.truth.classes.index(name), curves[name]) for name in most]
            what, file = ("boxes", "precision_recall") if kind == "bbox" else ("masks", "precision_recall_masks")
            title = f"Precision and recall of {what} at IoU 0.5, {int(numbers['images'])} images"
            written.append(folder / f"{file}.png")
            save_picture(precision_recall_chart(recall, curves["all"], classes, title), written[-1])
        matrix, names = self.confusion()
        note = "nothing: missed (last column), false (last row)"
        save_picture(confusion_matrix(matrix, names, self._at_threshold(short=True), note), confusion)
        written.append(confusion)
        if (sheet := worst_sheet(self.mistakes, self.metric.truth.classes)) is not None:
            save_picture(sheet, worst)
            written.append(worst)
        return written

    def _by_own_rule(self, numbers: dict[str, float]) -> list[str]:
        """The numbers that the set is known by, where they are not COCO's."""
        metric = self.metric.truth.rule.metric
        if metric == "coco":
            return []
        found = [f"{name} {numbers[name]:.1%}" for name in MAIN.get(metric, ("box_ap",)) if name in numbers]
        return [f"{RULES[metric]}: {'  '.join(found)}"]

    def _crowded(self, numbers: dict[str, float]) -> list[str]:
        """What average precision does not count of images with very many objects."""
        if not (crowded := self.metric.crowded()):
            return []
        limit = self.metric.limit
        text = f"{crowded} images have more than {COUNTED} objects, of which COCO's average precision counts {COUNTED}"
        end = f"_ap_at_{limit}"
        found = [f"{key.removesuffix(end)} AP {numbers[key]:.1%}" for key in numbers if key.endswith(end)]
        if found:
            return [f"{text}; with the {limit} that the model reports: {', '.join(found)}"]
        return [f"{text}; the model reports {limit} at most (--max-objects)"]

    def _at_threshold(self, *, short: bool = False) -> str:
        """What found, missed and false mean here, and the shares of them."""
        numbers = self.mistakes.compute()
        chosen = ", the best F1" if self.score_threshold is None and numbers["f1"] > 0 else ""
        text = f"at score {numbers['score_threshold']:g}{chosen}, boxes at IoU {IOU}"
        if short:
            return f"Classes {text}; {len(self.mistakes.images)} images"
        shares = "  ".join(f"{name} {percent(numbers[key])}" for key, name in _SHARES.items())
        return f"{text}: {shares}"


def _renumbered(result: Detections, numbers: np.ndarray[Any, Any]) -> Detections:
    """The result with the data's numbers of classes, without detections of classes that the data lacks."""
    labels = numbers[result.labels]
    keep = labels != _ABSENT
    return replace(result.part(keep), labels=labels[keep])


def measure_results(data: ObjectImages, file: Path, options: ReportOptions) -> DetectionReport:
    """The report on a result file; every annotated image counts, also one that has no results.

    Masks are measured where the data has masks and every result has one.

    Raises:
        DataError: see :func:`internimage.data.formats.set_results.read_results`.
    """
    found, unknown, notes = read_results(file, data)
    entries = [entry for one in found.values() for entry in one]
    masks = bool(entries) and data.has_masks and all(entry.segmentation is not None for entry in entries)
    if unknown:
        few = ", ".join(map(str, list(unknown)[:5]))
        warnings.warn(
            f"{file}: {sum(unknown.values())} results are left out, whose categories the annotations lack ({few})",
            stacklevel=2,
        )
    for note in notes:
        warnings.warn(note, stacklevel=2)
    metric = AveragePrecision(data, masks, max((len(own) for own in found.values()), default=COUNTED))
    for identity, own in found.items():
        metric.add_entries(own, identity)
    return DetectionReport(metric, np.arange(len(data.classes)), score_threshold=options.score_threshold)
