"""Boxes in space in training."""

from __future__ import annotations

from functools import partial
from typing import Any

from internimage.driving.bev.inputs import BoxTargets
from internimage.driving.boxes3d.evaluation import BoxReport
from internimage.driving.boxes3d.pipeline import BoxPipeline
from internimage.driving.boxes3d.targets import box_targets
from internimage.driving.data.frames import Frames
from internimage.driving.sequences.task import SequenceTask
from internimage.errors import DataError


class BoxTask(SequenceTask):
    """Boxes in space from several cameras."""

    noun = "boxes in space"
    best = "nds"
    headline = ("nds", "map")  # shares; the errors have units

    @classmethod
    def look_over(cls, part: Frames) -> None:
        unseen = [frame for frame in part.frames if frame.truth is None]
        if unseen:
            raise DataError(
                f"{part.name}: nobody looked for boxes in {len(unseen)} of {len(part)} frames, such as "
                f"{unseen[0].token}; expected annotations of all of them"
            )
        if not sum(part.counts()):
            raise DataError(f"{part.name} has no boxes; training needs some to learn from and some to measure with")

    @classmethod
    def targets(cls, config: Any, data: Frames) -> partial[BoxTargets]:
        return partial(box_targets, grid=config.grid)

    def pipeline(self, model: Any, *, in_step: bool = False) -> BoxPipeline:
        return BoxPipeline(model, tells=False)

    def report(self, pipeline: Any) -> BoxReport:
        return BoxReport.on(pipeline, self.val)
