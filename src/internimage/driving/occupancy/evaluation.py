"""Report of a network that fills space, measured on frames with labels of voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from internimage.drawing.canvas import BAD, INK, Colour
from internimage.drawing.charts import contact_sheet
from internimage.driving.data.frames import Frame
from internimage.driving.data.occ3d import Space, VoxelGrid, Voxels, read_submission
from internimage.driving.drawing.space_sheet import draw_space_frame
from internimage.driving.metrics.occupancy import OccupancyScore
from internimage.driving.occupancy.reading import SpaceFrames
from internimage.driving.results.space import FoundSpace
from internimage.driving.sequences.report import FrameReport, check_classes, finite
from internimage.metrics.classes import percent
from internimage.settings.views import ReportOptions

if TYPE_CHECKING:
    from internimage.contracts import Pipeline
    from internimage.data.samples import EvaluationSample

NEAR = 0.6
"""Metres within which a surface is near, for the F-score: at a voxel's side, 0.4, rounding decides what is near."""
_WORST = 3
_WIDTH = 1400  # pixels of a frame


class _Kept(NamedTuple):
    """A frame that went wrong."""

    miou: float
    token: str
    labels: Voxels


@dataclass
class SpaceReport(FrameReport):
    """Occ3D's score of a network, over the voxels that a camera sees, as the challenge measures.

    Attributes:
        data: what it is measured on; frames are drawn from it.
        metric: the results of all frames.
    """

    data: SpaceFrames
    metric: OccupancyScore
    _worst: list[_Kept] = field(default_factory=list)

    @classmethod
    def on(cls, pipeline: Pipeline, data: SpaceFrames, *, distance: float | None = None) -> SpaceReport:
        """An empty report.

        Args:
            pipeline: of a model.
            data: the frames.
            distance: in metres for the F-score, a quarter of a second a frame; None leaves it out.

        Raises:
            DataError: the model has other classes.
        """
        check_classes(pipeline, data)
        return cls(data, OccupancyScore(data.classes, distance))

    def add(self, result: FoundSpace, sample: EvaluationSample) -> None:
        """Count one frame."""
        self.add_space(sample.entry, sample.measured.truth, result.labels)

    def add_space(self, frame: Frame, truth: Space, found: Voxels) -> None:
        """Count labels of voxels."""
        before = self.metric.confusion.copy()
        self.metric.add(frame.token, truth.labels, found, truth.camera)
        alone = OccupancyScore(self.metric.classes)
        alone.confusion = self.metric.confusion - before
        miou = alone.compute()["miou"]
        if miou == miou:
            self._keep([_Kept(miou, frame.token, found)])

    def state(self) -> Any:
        return self.metric.state(), self._worst

    def merge(self, states: Sequence[Any]) -> None:
        self.metric.merge([state[0] for state in states])
        self._worst = []
        self._keep([one for state in states for one in state[1]])

    def _keep(self, kept: list[_Kept]) -> None:
        self._worst = sorted([*self._worst, *kept], key=lambda one: one[:2])[:_WORST]

    def compute(self) -> dict[str, float]:
        """See :meth:`internimage.driving.metrics.occupancy.OccupancyScore.compute`."""
        return self.metric.compute()

    def per_class(self) -> dict[str, dict[str, float]]:
        """voxels that are true, found, right, and the intersection over union, of each class."""
        confusion, ious = self.metric.confusion, self.metric.ious()
        return {
            name: {
                "true": float(confusion[label].sum()),
                "found": float(confusion[:, label].sum()),
                "right": float(confusion[label, label]),
                "iou": ious[name],
            }
            for label, name in enumerate(self.metric.classes)
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; null for what a class does not have."""
        return {
            **finite(self.compute()),
            "per_class": {name: finite(row) for name, row in self.per_class().items()},
            "worst": [{"frame": one.token, "miou": one.miou} for one in self._worst],
            "unreadable": self.unreadable,
            "left_out": self.left_out,
        }

    def table(self) -> str:
        """The numbers as text."""
        rows, numbers = self.per_class(), self.compute()
        width = max(len(name) for name in rows)
        lines = [f"{'class':<{width}}  {'true':>10}  {'found':>10}  {'right':>10}  {'IoU':>6}"]
        for name, row in rows.items():
            counts = "  ".join(f"{int(row[key]):>10}" for key in ("true", "found", "right"))
            lines.append(f"{name:<{width}}  {counts}  {percent(row['iou']):>6}")
        absent = [name for name, row in list(rows.items())[:-1] if row["iou"] != row["iou"]]
        if absent:
            lines.append(f"neither true nor found, left out of the mean: {', '.join(absent)}")
        totals = [f"mIoU {percent(numbers['miou'])}", f"filled or free IoU {percent(numbers['geometry'])}"]
        if "f1" in numbers:
            totals.append(f"F-score within {self.metric.distance} m {percent(numbers['f1'])}")
        lines.append("  ".join([*totals, f"frames {int(numbers['frames'])}"]) + "  (voxels that a camera sees)")
        lines += [f"left out: {name}" for name in self.unreadable] + self.left_out
        return "\n".join(lines)

    def worst_sheet(self) -> Image.Image | None:
        if not self._worst:
            return None
        pictures: list[tuple[Image.Image, list[tuple[str, Colour]]]] = []
        for one in self._worst:
            frame = self.data.frames[self.data.numbers[one.token]]
            space = self.data.space_of(frame)
            picture = draw_space_frame(
                frame, one.labels, VoxelGrid(), truth=space.labels, seen=space.camera, width=_WIDTH
            )
            captions = [(f"{frame.scene} {frame.token}", INK), (f"mIoU {percent(one.miou)}", BAD)]
            pictures.append((picture, captions))
        title = "Least mIoU: what was found and what is there, of what a camera sees"
        return contact_sheet(pictures, title=title, columns=1, cell=_WIDTH)


def measure_folder(data: SpaceFrames, folder: Path, options: ReportOptions) -> SpaceReport:
    """The report on a folder of ``SAMPLE.npz``, as the challenge takes them; every frame has to have one.

    Raises:
        DataError: a file is missing or is none.
    """
    report = SpaceReport(data, OccupancyScore(data.classes, NEAR))
    for frame in data.frames:
        report.add_space(frame, data.space_of(frame), read_submission(folder / f"{frame.token}.npz"))
    return report


def is_submission(path: Path) -> bool:
    """Whether a path is a folder of ``.npz`` files."""
    return path.is_dir() and next(path.glob("*.npz"), None) is not None
