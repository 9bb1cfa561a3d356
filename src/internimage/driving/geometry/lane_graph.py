"""Lanes, what governs them, and how both belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from internimage.driving.geometry.boxes import Numbers
from internimage.driving.geometry.poses import Array
from internimage.errors import DataError


@dataclass(frozen=True, eq=False)
class LaneGraph:
    """Centre lines of lanes and traffic elements of a frame, with the pairs that belong together.

    Rows and columns of both matrices follow the order of lanes and elements.

    Attributes:
        lanes: of each (P, 3) metres in the vehicle's frame (x forward, y left, z up), in the direction of travel.
        scores: (N,) of the lanes, 1 for true ones.
        elements: (K, 4) left, top, right, bottom in pixels of the front camera's picture.
        attributes: (K,) numbers of what they are.
        element_scores: (K,).
        lane_lane: (N, N) how surely the column's lane goes on where the row's ends.
        lane_element: (N, K) how surely the element governs the lane.
    """

    lanes: Sequence[Array] = ()
    scores: Array = field(default_factory=lambda: np.zeros(0))
    elements: Array = field(default_factory=lambda: np.zeros((0, 4)))
    attributes: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    element_scores: Array = field(default_factory=lambda: np.zeros(0))
    lane_lane: Array = field(default_factory=lambda: np.zeros((0, 0)))
    lane_element: Array = field(default_factory=lambda: np.zeros((0, 0)))

    def checked(self, where: str) -> LaneGraph:
        """The graph itself; ``where`` begins the message.

        Raises:
            DataError: something has another shape than it says, or a number is not finite.
        """
        lanes, elements = len(self.lanes), len(self.elements)
        shapes = {
            "scores": (lanes,),
            "elements": (elements, 4),
            "attributes": (elements,),
            "element_scores": (elements,),
            "lane_lane": (lanes, lanes),
            "lane_element": (lanes, elements),
        }
        for name, shape in shapes.items():
            values = np.asarray(getattr(self, name))
            if values.shape != shape:
                raise DataError(f"{where}: {name} is of {values.shape}; expected {shape}")
            if not np.isfinite(values).all():
                raise DataError(f"{where}: {name} has numbers that are not finite")
        for number, lane in enumerate(self.lanes):
            if np.ndim(lane) != 2 or np.shape(lane)[1] != 3 or len(lane) < 2:
                raise DataError(
                    f"{where}: lane {number} is of {np.shape(lane)}; expected 2 points or more of 3 numbers"
                )
            if not np.isfinite(lane).all():
                raise DataError(f"{where}: lane {number} has numbers that are not finite")
        return self

    def order(self, lanes: Numbers, elements: Numbers) -> LaneGraph:
        """Some of the lanes and elements, in another order, with their pairs."""
        return LaneGraph(
            [self.lanes[number] for number in lanes],
            self.scores[lanes],
            self.elements[elements],
            self.attributes[elements],
            self.element_scores[elements],
            self.lane_lane[np.ix_(lanes, lanes)],
            self.lane_element[np.ix_(lanes, elements)],
        )
