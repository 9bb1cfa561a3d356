"""Report of a network that draws maps, measured on frames of known ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from internimage.drawing.canvas import BAD, INK, Colour
from internimage.drawing.charts import contact_sheet
from internimage.driving.data.frames import Frame
from internimage.driving.drawing.map_sheet import draw_map_frame
from internimage.driving.geometry.vector_map import VectorMap
from internimage.driving.metrics.polylines import THRESHOLDS, VectorMapScore
from internimage.driving.online_map.reading import MapFrames
from internimage.driving.results.geojson import read_geojson
from internimage.driving.results.maps import FoundMap
from internimage.driving.sequences.report import FrameReport, check_classes, finite
from internimage.metrics.classes import percent
from internimage.settings.views import ReportOptions

if TYPE_CHECKING:
    from internimage.contracts import Pipeline
    from internimage.data.samples import EvaluationSample

_WORST, _CELL = 3, 1500
_DRAWN = 0.3  # score of what the sheet shows


@dataclass
class MapReport(FrameReport):
    """Chamfer average precision of a network.

    Attributes:
        data: what it is measured on; frames are drawn from it.
        metric: the results of all frames.
    """

    data: MapFrames
    metric: VectorMapScore
    _frames: dict[str, tuple[VectorMap, VectorMap]] = field(default_factory=dict)

    @classmethod
    def on(cls, pipeline: Pipeline, data: MapFrames) -> MapReport:
        """An empty report.

        Raises:
            DataError: the model has other classes.
        """
        check_classes(pipeline, data)
        return cls(data, VectorMapScore(data.classes))

    def add(self, result: FoundMap, sample: EvaluationSample) -> None:
        """Count one frame."""
        self.add_map(sample.entry, sample.measured.truth, result.found)

    def add_map(self, frame: Frame, truth: VectorMap, found: VectorMap) -> None:
        """Count what is true of a frame and what was found."""
        self.metric.add(frame.token, truth, found)
        self._frames[frame.token] = truth, found

    def state(self) -> Any:
        return self.metric.state(), self._frames

    def merge(self, states: Sequence[Any]) -> None:
        self.metric.merge([state[0] for state in states])
        self._frames = {token: maps for state in states for token, maps in state[1].items()}

    def compute(self) -> dict[str, float]:
        """See :meth:`internimage.driving.metrics.polylines.VectorMapScore.compute`."""
        return self.metric.compute()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; null where there is no true line."""
        return {
            **finite(self.compute()),
            "per_class": {
                name: {f"{threshold:g} m": value for threshold, value in row.items()}
                for name, row in self.metric.precisions().items()
            },
            "worst": [{"frame": token, "map": value} for token, value in self._worst()],
            "unreadable": self.unreadable,
            "left_out": self.left_out,
        }

    def table(self) -> str:
        """The numbers as text."""
        rows, numbers = self.metric.precisions(), self.compute()
        width = max(5, *(len(name) for name in self.data.classes))
        lines = [f"{'class':<{width}}  " + "  ".join(f"{f'AP {threshold:g} m':>9}" for threshold in THRESHOLDS)]
        for name, row in rows.items():
            lines.append(f"{name:<{width}}  " + "  ".join(f"{percent(row[threshold]):>9}" for threshold in THRESHOLDS))
        absent = [name for name in self.data.classes if name not in rows]
        if absent:
            lines.append(f"not in the data, left out of the mean: {', '.join(absent)}")
        lines.append(f"mAP {percent(numbers['map'])}  frames {int(numbers['frames'])}  (Chamfer distance)")
        lines += [f"left out: {name}" for name in self.unreadable] + self.left_out
        return "\n".join(lines)

    def _worst(self) -> list[tuple[str, float]]:
        each = []
        for token, frame in self.metric.state().items():
            alone = VectorMapScore(self.data.classes)
            alone.merge([{token: frame}])
            if (value := alone.compute()["map"]) == value:
                each.append((token, value))
        return sorted(each, key=lambda one: (one[1], one[0]))[:_WORST]

    def worst_sheet(self) -> Image.Image | None:
        if not (worst := self._worst()):
            return None
        pictures: list[tuple[Image.Image, list[tuple[str, Colour]]]] = []
        for token, value in worst:
            frame = self.data.frames[self.data.numbers[token]]
            truth, found = self._frames[token]
            shown = np.flatnonzero(found.scores >= _DRAWN).tolist()
            sure = VectorMap([found.lines[one] for one in shown], found.labels[shown], found.scores[shown])
            picture = draw_map_frame(frame, sure, self.data.classes, truth=truth)
            pictures.append((picture, [(f"{frame.scene} {token}", INK), (f"mAP {percent(value)}", BAD)]))
        return contact_sheet(pictures, title="Least mAP: found solid, true dashed", columns=1, cell=_CELL)


def measure_folder(data: MapFrames, folder: Path, options: ReportOptions) -> MapReport:
    """The report on a folder of ``SAMPLE.geojson``; every frame has to have one.

    Raises:
        DataError: a file is missing or is none.
    """
    report = MapReport(data, VectorMapScore(data.classes))
    for frame in data.frames:
        found = read_geojson(folder / f"{frame.token}.geojson", data.classes)
        report.add_map(frame, data.map_of(frame), found)
    return report


def is_submission(path: Path) -> bool:
    """Whether a path is a folder of GeoJSON files."""
    return path.is_dir() and next(path.glob("*.geojson"), None) is not None
