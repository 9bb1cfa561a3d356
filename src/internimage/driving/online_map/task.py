"""Maps of lines in training."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from internimage.driving.data.frames import Frame, Frames
from internimage.driving.geometry.vector_map import VectorMap
from internimage.driving.online_map.evaluation import MapReport
from internimage.driving.online_map.pipeline import MapPipeline
from internimage.driving.online_map.reading import MapFrames
from internimage.driving.sequences.task import SequenceTask


class MapTruth(VectorMap):
    """The lines of a frame in a batch; a network takes them as they are."""

    def to(self, device: torch.device) -> MapTruth:
        """The same: lines of different lengths stay NumPy's."""
        return self


class MapTask(SequenceTask):
    """Lines on the ground around the vehicle."""

    noun = "maps"
    best = "map"
    headline = ("map", "ap50", "ap100", "ap150")

    @classmethod
    def look_over(cls, part: Frames) -> None:
        assert isinstance(part, MapFrames)
        part.map_of(part.frames[0])

    @classmethod
    def targets(cls, config: Any, data: Frames) -> partial[MapTruth]:
        assert isinstance(data, MapFrames)
        return partial(map_truth, data=data)

    def pipeline(self, model: Any, *, in_step: bool = False) -> MapPipeline:
        return MapPipeline(model, tells=False)

    def report(self, pipeline: Any) -> MapReport:
        return MapReport.on(pipeline, self.val)  # type: ignore[arg-type]  # as the reader makes them


def map_truth(frame: Frame, data: MapFrames) -> MapTruth:
    """The lines around the vehicle."""
    return MapTruth(**vars(data.map_of(frame)))
