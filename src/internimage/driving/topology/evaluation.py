"""Report of a network of lanes and traffic elements, measured on frames with known ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from internimage.data.formats.documents import read_json
from internimage.drawing.canvas import BAD, INK, Colour
from internimage.drawing.charts import contact_sheet
from internimage.driving.data.openlane import as_measured, lane_graph
from internimage.driving.drawing.lane_sheet import draw_lane_frame
from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.driving.metrics.openlane.score import LANE_THRESHOLDS, OpenLaneScore, Version
from internimage.driving.results.lanes import FoundLanes, Predictions
from internimage.driving.sequences.report import FrameReport, check_classes, finite
from internimage.driving.topology.reading import LaneFrames
from internimage.errors import DataError
from internimage.metrics.classes import percent
from internimage.settings.views import ReportOptions

if TYPE_CHECKING:
    from PIL import Image

    from internimage.contracts import Pipeline
    from internimage.data.samples import EvaluationSample

VERSIONS: tuple[Version, ...] = ("2.1", "1.0")
"""Of the metric; numbers of the first have no version in their names."""
_PARTS = ("ols", "det_l", "det_t", "top_ll", "top_lt")
_WORST, _CELL = 3, 1500
_MOST = 2**28  # bytes of a frame's results
_DRAWN = 0.3  # score of what the sheet shows


@dataclass
class LaneReport(FrameReport):
    """OpenLane-V2's score of a network.

    Attributes:
        data: what it is measured on; frames are drawn from it.
        scores: by version of the metric.
    """

    data: LaneFrames
    scores: dict[Version, OpenLaneScore]

    @classmethod
    def on(cls, pipeline: Pipeline, data: LaneFrames, *, versions: Sequence[Version] = VERSIONS) -> LaneReport:
        """An empty report.

        Raises:
            DataError: the model has other classes than the data's attributes.
        """
        check_classes(pipeline, data)
        return cls.empty(data, versions)

    @classmethod
    def empty(cls, data: LaneFrames, versions: Sequence[Version] = VERSIONS) -> LaneReport:
        """A report on nothing yet."""
        return cls(data, {version: OpenLaneScore(data.classes, version) for version in versions})

    def add(self, result: FoundLanes, sample: EvaluationSample) -> None:
        """Count one frame."""
        self.add_graphs(sample.entry.token, sample.measured.truth, result.graph)

    def add_graphs(self, token: str, truth: LaneGraph, found: LaneGraph) -> None:
        """Count what is true of a frame and what was found."""
        for score in self.scores.values():
            score.add(token, truth, found)

    def state(self) -> Any:
        return {version: score.state() for version, score in self.scores.items()}

    def merge(self, states: Sequence[Any]) -> None:
        for version, score in self.scores.items():
            score.merge([state[version] for state in states])

    def compute(self) -> dict[str, float]:
        """ "ols", "det_l", "det_t", "top_ll", "top_lt" of version 2.1, the same of 1.0 as "ols_1.0" and so on, and
        "frames"; NaN where there was nothing to average."""
        numbers: dict[str, float] = {}
        for version, score in self.scores.items():
            found = score.compute()
            end = "" if version == VERSIONS[0] else f"_{version}"
            numbers |= {f"{name}{end}": found[name] for name in _PARTS}
        return {**numbers, "frames": float(len(self.scores[VERSIONS[0]].state()))}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        score = self.scores[VERSIONS[0]]
        lanes = dict(zip((f"{one:g} m" for one in LANE_THRESHOLDS), score.lane_precisions(), strict=True))
        return {
            **finite(self.compute()),
            "lane_ap": lanes,
            "element_ap": score.element_precisions(),
            "worst": [{"frame": token, "ols": ols} for token, ols in self._worst()],
            "unreadable": self.unreadable,
            "left_out": self.left_out,
        }

    def table(self) -> str:
        """The numbers as text."""
        score, numbers = self.scores[VERSIONS[0]], self.compute()
        lines = ["lanes within (Frechet)  AP"]
        lines += [
            f"  {distance:g} m  {percent(value):>14}"
            for distance, value in zip(LANE_THRESHOLDS, score.lane_precisions(), strict=True)
        ]
        lines.append("traffic elements (IoU over 0.25)  AP; what is neither true nor found counts 100 %")
        lines += [f"  {name:<14} {percent(value):>6}" for name, value in score.element_precisions().items()]
        names = {"ols": "OLS", "det_l": "DET_l", "det_t": "DET_t", "top_ll": "TOP_ll", "top_lt": "TOP_lt"}
        for version in self.scores:
            end = "" if version == VERSIONS[0] else f"_{version}"
            parts = "  ".join(f"{text} {percent(numbers[f'{name}{end}'])}" for name, text in names.items())
            lines.append(f"{parts}  frames {int(numbers['frames'])}  (metric {version})")
        lines += [f"left out: {name}" for name in self.unreadable] + self.left_out
        return "\n".join(lines)

    def _worst(self) -> list[tuple[str, float]]:
        each = []
        for token, frame in self.scores[VERSIONS[0]].state().items():
            alone = OpenLaneScore(self.data.classes)
            alone.merge([{token: frame}])
            each.append((token, alone.compute()["ols"]))
        return sorted(each, key=lambda one: (one[1], one[0]))[:_WORST]

    def worst_sheet(self) -> Image.Image | None:
        if not (worst := self._worst()):
            return None
        pictures: list[tuple[Image.Image, list[tuple[str, Colour]]]] = []
        for token, ols in worst:
            frame = self.data.frames[self.data.numbers[token]]
            kept = self.scores[VERSIONS[0]].state()[token]
            truth, found = kept.truth, kept.found
            lanes, elements = (np.flatnonzero(scores >= _DRAWN) for scores in (found.scores, found.element_scores))
            front = frame.cameras[0].channel
            picture = draw_lane_frame(frame, found.order(lanes, elements), self.data.classes, front, truth=truth)
            pictures.append((picture, [(token, INK), (f"OLS of this frame {percent(ols)}", BAD)]))
        return contact_sheet(pictures, title="Least OLS: predicted and true", columns=1, cell=_CELL)


def measure_folder(data: LaneFrames, folder: Path, options: ReportOptions) -> LaneReport:
    """The report on a folder of ``SEGMENT/TIMESTAMP.json`` with predictions; every frame has to have one.

    Raises:
        DataError: a file is missing or is none.
    """
    report = LaneReport.empty(data)
    for frame in data.frames:
        file = folder / f"{frame.token}.json"
        try:
            content = msgspec.convert(read_json(file, largest=_MOST), Predictions, strict=False)
        except msgspec.ValidationError as error:
            raise DataError(f"{file} has no predictions as OpenLane-V2 has them: {error}") from error
        report.add_graphs(frame.token, as_measured(data.graph_of(frame)), lane_graph(content.predictions, str(file)))
    return report


def is_submission(path: Path) -> bool:
    """Whether a path is a folder of segments with predictions."""
    file = next(path.glob("*/*.json"), None) if path.is_dir() else None
    return file is not None and b'"predictions"' in file.read_bytes()[:100]
