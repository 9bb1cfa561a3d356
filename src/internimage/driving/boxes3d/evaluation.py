"""A network that finds boxes in space, measured on frames with known ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.drawing.precision_recall import precision_recall_chart
from internimage.driving.boxes3d.worst import MOST, worst_sheet
from internimage.driving.data.frames import Frame, Frames
from internimage.driving.data.nuscenes_classes import ATTRIBUTES
from internimage.driving.geometry.boxes import GlobalBoxes
from internimage.driving.metrics.mistakes import Mistakes, find_mistakes
from internimage.driving.metrics.nuscenes import RECALL, DetectionScore
from internimage.driving.results.boxes3d import FoundBoxes
from internimage.driving.results.submission_reading import read_submission
from internimage.errors import DataError
from internimage.metrics.classes import class_numbers, percent
from internimage.settings.views import ReportOptions
from internimage.writing import json_text, save_picture, write_text

if TYPE_CHECKING:
    from internimage.contracts import Pipeline
    from internimage.data.samples import EvaluationSample

_CURVES = 12
_ABSENT = -1
_ERRORS = {"ate": "ATE", "ase": "ASE", "aoe": "AOE", "ave": "AVE", "aae": "AAE"}
_SHARES = {"precision": "precision", "recall": "recall", "f1": "F1"}
_UNITS = "errors: ATE in metres, ASE 1 - IoU, AOE in radians, AVE in metres a second, AAE 1 - accuracy"


@dataclass
class BoxReport:
    """nuScenes' score of a network, and its mistakes at a score threshold.

    Attributes:
        data: what it is measured on; frames are drawn from it.
        metric: the results of all frames.
        numbers: the data's number of each of the model's classes, -1 for none.
        unreadable: files left out.
        left_out: what else of the data was not measured, a line for each reason.
        score_threshold: minimum score of the boxes that count as found or false; None for the best F1.
    """

    data: Frames
    metric: DetectionScore
    numbers: np.ndarray[Any, Any]
    unreadable: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    score_threshold: float | None = None
    _mistakes: Mistakes | None = None

    @classmethod
    def on(cls, pipeline: Pipeline, data: Frames, *, score_threshold: float | None = None) -> BoxReport:
        """An empty report; classes go together by name, or by number where the model has no names and as many.

        Classes that only the model knows are left out.

        Raises:
            DataError: the data shows a class that the model does not know.
        """
        numbers = class_numbers(pipeline.labels, pipeline.classes, data.classes, _ABSENT, data.used())
        return cls(data, DetectionScore(data.classes), numbers, score_threshold=score_threshold)

    def add(self, result: FoundBoxes, sample: EvaluationSample) -> None:
        """Count one frame; the truth is that of the data's entry.

        Raises:
            DataError: nobody looked what is in the frame.
        """
        found = result.in_global()
        self.add_boxes(sample.entry, replace(found, labels=self.numbers[found.labels]), sample.entry.time)

    def add_boxes(self, frame: Frame, found: GlobalBoxes, place: int) -> None:
        """Count boxes that are numbered as the data's; ``place`` orders the frames, see :meth:`DetectionScore.add`."""
        if frame.truth is None:
            raise DataError(
                f"{self.data.name}: frame {frame.token} has no annotations; expected a part that has some, such as val"
            )
        self.metric.add(frame.token, frame.ego.translation, frame.truth, found, frame.racks, place)
        self._mistakes = None

    def state(self) -> Any:
        return self.metric.state()

    def merge(self, states: Sequence[Any]) -> None:
        self.metric.merge(states)
        self._mistakes = None

    def compute(self) -> dict[str, float]:
        """See :meth:`internimage.driving.metrics.nuscenes.DetectionScore.compute`; "frames" for "samples"."""
        numbers = self.metric.compute()
        frames = numbers.pop("samples")
        return {**numbers, "frames": frames}

    @property
    def mistakes(self) -> Mistakes:
        """What is found, missed and false at the score threshold."""
        if self._mistakes is None:
            self._mistakes = find_mistakes(self.metric, self.score_threshold)
        return self._mistakes

    def per_class(self) -> dict[str, dict[str, float]]:
        """objects, found, missed, false, ap, ap_0.5, ..., ate, ..., aae of each class."""
        rows = {}
        for label, (name, row) in enumerate(self.metric.per_class().items()):
            counts = {key: float(getattr(self.mistakes, key)[label]) for key in ("found", "missed", "false")}
            rows[name] = {"objects": row["objects"], **counts, **dict(list(row.items())[2:])}
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; null for what a class, or any class, does not have."""
        tokens, mistakes = self.metric.tokens, self.mistakes
        worst = [
            {
                "frame": tokens[place],
                "missed": int(mistakes.missed_in[place]),
                "false": int(mistakes.false_in[place]),
            }
            for place in mistakes.worst(MOST)
        ]
        return {
            **_finite({**self.compute(), **mistakes.compute()}),
            "per_class": {name: _finite(row) for name, row in self.per_class().items()},
            "worst": worst,
            "unreadable": self.unreadable,
            "left_out": self.left_out,
        }

    def table(self) -> str:
        """The numbers as text."""
        numbers, rows = self.compute(), self.per_class()
        precisions = ["ap", *(f"ap_{distance:g}" for distance in self.metric.rules.distances)]
        headings = ["AP", *(f"AP {distance:g} m" for distance in self.metric.rules.distances)]
        width = max(5, *(len(name) for name in rows)) if rows else 5
        counted = ("objects", "found", "missed", "false")
        lines = ["  ".join([f"{'class':<{width}}", *counted, *(f"{one:>8}" for one in headings), *_wide(_ERRORS)])]
        for name, row in rows.items():
            cells = [f"{int(row[key]):>{len(key)}}" for key in counted]
            cells += [f"{percent(row[key]):>8}" for key in precisions]
            lines.append("  ".join([f"{name:<{width}}", *cells, *(_decimals(row[error]) for error in _ERRORS)]))
        lines.append(self._at_threshold())
        means = [f"m{text} {_decimals(numbers[f'm{error}']).strip()}" for error, text in _ERRORS.items()]
        totals = [f"NDS {percent(numbers['nds'])}", f"mAP {percent(numbers['map'])}", *means]
        lines += [_UNITS, "  ".join([*totals, f"frames {int(numbers['frames'])}"])]
        lines += [f"left out: {name}" for name in self.unreadable] + self.left_out
        return "\n".join(lines)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write metrics.json, table.txt, precision_recall.png and worst.png; return their paths.

        Without true boxes there is no precision_recall.png, without mistakes no worst.png.
        """
        folder = Path(folder).expanduser()
        metrics, table, chart, worst = (
            folder / name for name in ("metrics.json", "table.txt", "precision_recall.png", "worst.png")
        )
        write_text(metrics, json_text(self.to_dict(), indent=2) + "\n")
        write_text(table, self.table() + "\n")
        written = [metrics, table]
        rows, distance = self.metric.per_class(), self.metric.rules.error_distance
        shown = {
            label: self.metric.precision(label, distance) for label, row in enumerate(rows.values()) if row["objects"]
        }
        if shown:
            most = sorted(shown, key=lambda label: -rows[self.metric.classes[label]]["objects"])[:_CURVES]
            curves = [(self.metric.classes[label], label, shown[label]) for label in most]
            title = f"Precision and recall, centres within {distance:g} m, {len(self.metric.tokens)} frames"
            mean = np.mean(list(shown.values()), axis=0)
            save_picture(precision_recall_chart(RECALL, mean, curves, title, "area"), chart)
            written.append(chart)
        if (sheet := worst_sheet(self.metric, self.mistakes, self.data)) is not None:
            save_picture(sheet, worst)
            written.append(worst)
        return written

    def _at_threshold(self) -> str:
        """What found, missed and false mean here, and the shares of them."""
        numbers = self.mistakes.compute()
        chosen = ", the best F1" if self.score_threshold is None and numbers["f1"] > 0 else ""
        shares = "  ".join(f"{name} {percent(numbers[key])}" for key, name in _SHARES.items())
        within = f"centres within {self.metric.rules.error_distance:g} m"
        return f"at score {numbers['score_threshold']:g}{chosen}, {within}: {shares}"


def measure_submission(data: Frames, file: Path, options: ReportOptions) -> BoxReport:
    """The report on a file of results in nuScenes' format; every frame has to have some, be it an empty list.

    Raises:
        DataError: see :func:`internimage.driving.results.submission_reading.read_submission`; or a frame has no
            annotations.
    """
    frames = {frame.token: frame for frame in data.frames}
    given = {text: None for frame in frames.values() if frame.truth is not None for text in frame.truth.attributes}
    attributes = dict.fromkeys(ATTRIBUTES) | {text: None for text in given if text}
    found = read_submission(file, data.classes, frames, attributes)
    score = DetectionScore(data.classes)
    report = BoxReport(data, score, np.arange(len(data.classes)), score_threshold=options.score_threshold)
    for place, (token, boxes) in enumerate(found.items()):
        report.add_boxes(frames[token], boxes, place)
    return report


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: value if value == value else None for name, value in numbers.items()}


def _decimals(value: float) -> str:
    return f"{value:5.3f}" if value == value else "    -"


def _wide(names: dict[str, str]) -> list[str]:
    return [f"{name:>5}" for name in names.values()]
