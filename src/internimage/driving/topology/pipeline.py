"""From frames to lanes, traffic elements and what belongs together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from internimage.driving.bev.inputs import RawLanes
from internimage.driving.data.frames import Frame
from internimage.driving.geometry.boxes import Numbers
from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.driving.geometry.poses import Array
from internimage.driving.lanes.curves import curve_points
from internimage.driving.results.lanes import FoundLanes
from internimage.driving.sequences.pipeline import SequencePipeline
from internimage.images import ImageSource
from internimage.labels import class_names


class LanePipeline(SequencePipeline):
    """Of a :class:`internimage.driving.models.topology.TopologyNetwork`."""

    def result(self, found: Sequence[RawLanes], frame: Frame, source: ImageSource) -> FoundLanes:
        front = self.model.config.front
        camera = next((one for one in frame.cameras if one.channel == front), None)
        names = tuple(class_names(self.labels, self.classes))
        return FoundLanes(sorted_graph(found[0], None if camera is None else camera.size), front, names, frame, source)


def sorted_graph(found: RawLanes, size: tuple[int, int] | None) -> LaneGraph:
    """What a network proposes, the surest first; lanes, elements and both matrices are put in order together.

    Args:
        found: in the order of the queries.
        size: (height, width) of the front camera's picture; without one there are no elements.
    """
    values = {name: value.detach().double().cpu().numpy() for name, value in vars(found).items()}
    height, width = size or (1, 1)
    centres, sides = np.split(values["elements"], 2, axis=1)
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    graph = LaneGraph(
        list(curve_points(values["curves"])),
        values["scores"],
        boxes.clip(0, 1) * (width, height, width, height),
        found.attributes.cpu().numpy(),
        values["element_scores"],
        values["lane_lane"],
        values["lane_element"],
    )
    return graph.order(_falling(graph.scores), _falling(graph.element_scores)[: None if size else 0])


def _falling(scores: Array) -> Numbers:
    return np.argsort(-scores, kind="stable").astype(np.int64)
