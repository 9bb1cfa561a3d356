"""OpenLane-V2's score (OLS): lanes, traffic elements, and what belongs together.

Wang et al., OpenLane-V2, NeurIPS 2023 (data sets track), https://arxiv.org/abs/2304.10440.  Version "1.0" is that of
the challenge of 2023, "2.1" that of the package openlanev2 2.1.0.  In 1.0 edges of lanes that were not found stand
before all others, means are over ten levels of recall and depend on the order of predictions; of closed true
lanes it counts the first point twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from internimage.driving.geometry.boxes import Numbers
from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.driving.geometry.poses import Array
from internimage.driving.metrics.openlane.distances import box_distances, lane_distances
from internimage.driving.metrics.openlane.matching import (
    NONE,
    Flags,
    average_precision,
    both_ways,
    edges_between,
    match,
    recall_thresholds,
)

Version = Literal["1.0", "2.1"]

LANE_THRESHOLDS = (1.0, 2.0, 3.0)
"""Metres of the Frechet distance."""

_WITHIN = 3.0  # metres of the mean distance, beyond which lanes are not compared
_BOXES = 0.75  # one minus the intersection over union
_SURE = 0.5  # edges
_LEVELS = 10  # of recall, in 1.0
_JUST_SURE = _SURE + float(np.finfo(np.float32).eps)


class Frame(NamedTuple):
    """What is known of a frame.

    Attributes:
        truth, found: graphs.
        lanes: for each threshold which lane each found lane is.
        elements: which element each found element is, whatever it is called.
        named: whether it is one of its attribute.
    """

    truth: LaneGraph
    found: LaneGraph
    lanes: Sequence[Numbers]
    elements: Numbers
    named: Flags


class OpenLaneScore:
    """The score of lane graphs in frames that are added one by one, by any number of processes.

    Args:
        attributes: names of what traffic elements are.
        version: of the metric.
    """

    def __init__(self, attributes: Sequence[str], version: Version = "2.1") -> None:
        self.attributes, self.version = tuple(attributes), version
        self._frames: dict[str, Frame] = {}

    def add(self, token: str, truth: LaneGraph, found: LaneGraph) -> None:
        """Add a frame; one that is there already is replaced.

        Raises:
            DataError: a matrix does not fit its lanes and elements, or a number is not finite.
        """
        truth.checked(f"frame {token}, truth")
        found.checked(f"frame {token}, predictions")
        away = lane_distances(truth.lanes, found.lanes, _WITHIN, closed_twice=self.version == "1.0")
        lanes = [match(away, found.scores, threshold) for threshold in LANE_THRESHOLDS]
        boxes = box_distances(truth.elements, found.elements)
        named = np.zeros(len(found.elements), bool)
        for attribute in np.unique(found.attributes):
            rows, columns = (np.flatnonzero(one.attributes == attribute) for one in (truth, found))
            named[columns] = match(boxes[np.ix_(rows, columns)], found.element_scores[columns], _BOXES) != NONE
        self._frames[token] = Frame(truth, found, lanes, match(boxes, found.element_scores, _BOXES), named)

    def state(self) -> dict[str, Frame]:
        """Everything that was added."""
        return self._frames

    def merge(self, states: Sequence[Mapping[str, Frame]]) -> None:
        """Be the sum of what several processes added."""
        self._frames = {token: frame for state in states for token, frame in state.items()}

    def compute(self) -> dict[str, float]:
        """ "ols", "det_l", "det_t", "top_ll", "top_lt" and "frames"."""
        parts = {
            "det_l": float(np.mean(self.lane_precisions())),
            "det_t": float(np.mean(list(self.element_precisions().values()))),
            "top_ll": self._topology(self._lane_lane),
            "top_lt": self._topology(self._lane_element),
        }
        means = [parts["det_l"], parts["det_t"], parts["top_ll"] ** 0.5, parts["top_lt"] ** 0.5]
        return {"ols": float(np.mean(means)), **parts, "frames": len(self._frames)}

    def lane_precisions(self) -> list[float]:
        """Average precision at each of ``LANE_THRESHOLDS``."""
        count = sum(len(frame.truth.lanes) for frame in self._frames.values())
        scores = self._joined([frame.found.scores for frame in self._frames.values()])
        return [
            average_precision(
                self._joined([frame.lanes[place] for frame in self._frames.values()]) != NONE, scores, count
            )
            for place in range(len(LANE_THRESHOLDS))
        ]

    def element_precisions(self) -> dict[str, float]:
        """Average precision of each attribute: 1 of one that is nowhere, 0 of one that is only found."""
        frames = self._frames.values()
        truth = self._joined([frame.truth.attributes for frame in frames])
        found = self._joined([frame.found.attributes for frame in frames])
        hits = self._joined([frame.named for frame in frames]).astype(bool)
        scores = self._joined([frame.found.element_scores for frame in frames])
        return {
            name: average_precision(hits[found == number], scores[found == number], int((truth == number).sum()))
            for number, name in enumerate(self.attributes)
        }

    @staticmethod
    def _joined(parts: list[Any]) -> Any:
        return np.concatenate(parts) if parts else np.zeros(0)

    # Topology

    def _topology(self, precisions: Callable[[Frame], list[Array]]) -> float:
        found = [one for frame in self._frames.values() for one in precisions(frame)]
        return float(np.concatenate(found).mean()) if found else 0.0

    def _lane_lane(self, frame: Frame) -> list[Array]:
        truth = frame.truth.lane_lane.astype(bool)
        if not truth.size:
            return []
        return [
            each
            for place in range(len(LANE_THRESHOLDS))
            for lanes in self._levels(frame.lanes[place], frame.found.scores, len(truth))
            for each in both_ways(
                truth, edges_between(frame.found.lane_lane, lanes, lanes, truth, self._unmatched), _SURE
            )
        ]

    def _lane_element(self, frame: Frame) -> list[Array]:
        truth = frame.truth.lane_element.astype(bool)
        if not truth.size:
            return []
        elements = self._levels(frame.elements, frame.found.element_scores, truth.shape[1])
        return [
            each
            for place in range(len(LANE_THRESHOLDS))
            for lanes, others in zip(
                self._levels(frame.lanes[place], frame.found.scores, len(truth)), elements, strict=True
            )
            for each in both_ways(
                truth, edges_between(frame.found.lane_element, lanes, others, truth, self._unmatched), _SURE
            )
        ]

    @property
    def _unmatched(self) -> float:
        return 1.0 if self.version == "1.0" else _JUST_SURE

    def _levels(self, chosen: Numbers, scores: Array, count: int) -> list[Numbers]:
        """What each prediction is: once in 2.1, at each level of recall in 1.0."""
        if self.version == "2.1":
            return [chosen]
        if not len(chosen):
            return [chosen] * _LEVELS
        thresholds = recall_thresholds(chosen != NONE, scores, count)
        return [np.where(scores >= threshold, chosen, NONE) for threshold in thresholds]
