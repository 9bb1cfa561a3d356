"""A model that does several tasks, measured on several data sets: each as its own task measures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internimage.contracts import Report
from internimage.errors import DataError
from internimage.multimodal.describing.evaluation import WordsReport
from internimage.multimodal.generalist.data import DataSet, Kind, Sets
from internimage.multimodal.results.everything import Everything
from internimage.tasks.classification.evaluation import ClassificationReport
from internimage.tasks.detection.evaluation import DetectionReport
from internimage.writing import json_text, write_text

if TYPE_CHECKING:
    from internimage.data.samples import EvaluationSample

_BEST: Mapping[Kind, str] = {"words": "mean", "objects": "mask_ap50", "names": "top1"}
_SHOWN: Mapping[Kind, tuple[str, ...]] = {
    "words": ("exact", "mean_recall", "answers"),
    "objects": ("box_ap50", "mask_ap50"),
    "names": ("top1",),
}


@dataclass
class GeneralistReport:
    """The reports of the tasks, by the names of their data sets.

    Attributes:
        data: what is measured on.
        reports: of each set that the model can be measured on, by the set's number.
        unreadable: files left out.
        left_out: what of the data was not measured, a line for each reason.
    """

    data: Sets
    reports: dict[int, Report]
    unreadable: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @classmethod
    def on(
        cls, pipeline: Any, data: Sets, *, score_threshold: float | None = None, quick: bool = False
    ) -> GeneralistReport:
        """An empty report; ``quick`` leaves out METEOR, which needs Java and seconds.

        Raises:
            DataError: the model has learnt none of the data's tasks, or does not know a class that they show.
        """
        reports: dict[int, Report] = {}
        left_out = []
        for number, one in enumerate(data.sets):
            own = getattr(pipeline, one.kind)
            if own is None:
                left_out.append(f"{one.name}: the model has not learnt its task")
            elif one.kind == "words":
                reports[number] = WordsReport.on(one.part, meteor=not quick)
            elif one.kind == "objects":
                reports[number] = DetectionReport.on(own, one.part, score_threshold=score_threshold)
            else:
                reports[number] = ClassificationReport.on(own, one.part)
        if not reports:
            raise DataError(f"{data.name}: {'; '.join(left_out)}")
        return cls(data, reports, left_out=left_out)

    @staticmethod
    def headline(data: Sets) -> tuple[str, ...]:
        """Numbers that are shown while training goes on."""
        return tuple(_named(one, name) for one in data.sets for name in _SHOWN[one.kind])

    def add(self, result: Everything, sample: EvaluationSample) -> None:
        """Count one picture, with what it was asked."""
        number, own = sample.entry
        if number in self.reports:
            part = getattr(result, self.data.sets[number].kind)
            told = sample.measured._replace(known=sample.measured.known.known)
            self.reports[number].add(part, replace(sample, entry=own, measured=told))

    def state(self) -> Any:
        return {number: report.state() for number, report in self.reports.items()}

    def merge(self, states: Sequence[Any]) -> None:
        for number, report in self.reports.items():
            report.merge([state[number] for state in states])

    def compute(self) -> dict[str, float]:
        """Each number of each set, behind the set's name; "mean" over sets of words' mean, mask AP50 and top-1."""
        numbers: dict[str, float] = {}
        best = []
        for one, report in self._sets():
            own = report.compute()
            numbers |= {_named(one, name): value for name, value in own.items()}
            best.append(own.get(_BEST[one.kind], own.get("box_ap50", 0.0)))
        return {"mean": sum(best) / len(best), **numbers}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        sets = {one.name: report.to_dict() for one, report in self._sets()}
        return {"mean": self.compute()["mean"], **sets, "unreadable": self.unreadable, "left_out": self.left_out}

    def table(self) -> str:
        """The numbers as text, set by set."""
        lines = [f"{one.name} ({one.kind})\n{report.table()}" for one, report in self._sets()]
        return "\n".join([*lines, *(f"left out: {name}" for name in self.unreadable), *self.left_out])

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write metrics.json, and each set's own report into a folder of its name; return their paths."""
        folder = Path(folder).expanduser()
        metrics = folder / "metrics.json"
        write_text(metrics, json_text(self.to_dict(), indent=2) + "\n")
        return [metrics, *(path for one, report in self._sets() for path in report.save(folder / one.name))]

    def _sets(self) -> list[tuple[DataSet, Report]]:
        return [(self.data.sets[number], report) for number, report in self.reports.items()]


def _named(one: DataSet, name: str) -> str:
    return f"{one.name}_{name}"
