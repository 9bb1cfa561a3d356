"""Lanes and traffic elements in training."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from internimage.driving.bev.inputs import LaneTargets
from internimage.driving.data.frames import Frame, Frames
from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.driving.lanes.curves import CONTROLS, fitted
from internimage.driving.metrics.openlane.matching import Flags
from internimage.driving.sequences.task import SequenceTask
from internimage.driving.topology.evaluation import LaneReport
from internimage.driving.topology.pipeline import LanePipeline
from internimage.driving.topology.reading import LaneFrames


class LaneTask(SequenceTask):
    """Lanes, traffic elements and what belongs together."""

    noun = "lanes"
    best = "ols"
    headline = ("ols", "det_l", "det_t", "top_ll", "top_lt")

    @classmethod
    def look_over(cls, part: Frames) -> None:
        assert isinstance(part, LaneFrames)
        part.graph_of(part.frames[0])

    @classmethod
    def targets(cls, config: Any, data: Frames) -> partial[LaneTargets]:
        assert isinstance(data, LaneFrames)
        return partial(frame_targets, data=data, front=config.front)

    def pipeline(self, model: Any, *, in_step: bool = False) -> LanePipeline:
        return LanePipeline(model, tells=False)

    def report(self, pipeline: Any) -> LaneReport:
        return LaneReport.on(pipeline, self.val, versions=("2.1",))  # type: ignore[arg-type]  # as the reader makes them


def frame_targets(frame: Frame, data: LaneFrames, front: str) -> LaneTargets:
    """What is learnt of a frame, from its record."""
    size = next((camera.size for camera in frame.cameras if camera.channel == front), None)
    return lane_targets(data.graph_of(frame), size)


def lane_targets(graph: LaneGraph, size: tuple[int, int] | None) -> LaneTargets:
    """Lanes as curves, and elements of some area in the front camera's picture of (height, width); without it none."""
    seen: Flags = np.asarray((graph.elements[:, 2:] > graph.elements[:, :2]).all(axis=1) & (size is not None))
    shares = graph.elements[seen] / ([1.0] * 4 if size is None else (*size[::-1], *size[::-1]))
    boxes = np.concatenate([(shares[:, :2] + shares[:, 2:]) / 2, shares[:, 2:] - shares[:, :2]], axis=1)
    curves = np.array([fitted(lane) for lane in graph.lanes]).reshape(-1, CONTROLS, 3)
    return LaneTargets(
        torch.from_numpy(curves).float(),
        torch.from_numpy(boxes).float(),
        torch.from_numpy(graph.attributes[seen]),
        torch.from_numpy(graph.lane_lane).float(),
        torch.from_numpy(graph.lane_element[:, seen]).float(),
    )
