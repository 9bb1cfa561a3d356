"""The road frame of the drawn world: a main road along x, perhaps a road across, lanes as Bezier curves.

The frame: x along the main road in the direction in which the vehicle drives, y to the left, z up, ground at z = 0,
metres.  Traffic keeps to the right.  Everything is kept as geometry: lanes and what follows what, the pedestrian
crossing, the kind of ground at any place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import Any

import numpy as np

from internimage.driving.geometry.poses import Array

Codes = np.ndarray[Any, np.dtype[np.uint8]]
Places = np.ndarray[Any, np.dtype[np.floating[Any]]]

LANE = 3.5
PARKING = 2.4
SIDEWALK = 2.5
CROSSING_HALF = LANE
"""Half the width of the road across, which has one lane a side."""

GRASS, ASPHALT, PAVEMENT = 0, 1, 2
"""Kinds of ground, see :meth:`Road.surface`."""
WHITE, YELLOW, KERB, BAY = 3, 4, 5, 6
"""What is painted on it, see :meth:`Road.painted`."""

_NEAR_END, _FAR_END = -120.0, 160.0
_ACROSS_END = 100.0
_LINE = 0.09  # half the width of a painted line
_ZEBRA = (1.0, 4.0)  # the pedestrian crossing, metres before the road across
_STOP = (5.0, 5.4)


@dataclass(frozen=True, eq=False)
class Lane:
    """The middle of a lane.

    Attributes:
        curve: (5, 3) control points of a Bezier curve in the direction of travel.
        successors: numbers of the lanes that one comes to from its end.
        inside: whether it leads through the crossing.
    """

    curve: Array
    successors: tuple[int, ...] = ()
    inside: bool = False

    def points(self, count: int) -> Array:
        """(count, 3) points on the curve, evenly spaced in its parameter, ends included."""
        order = len(self.curve) - 1
        t = np.linspace(0, 1, count)[:, None]
        weights = np.concatenate([comb(order, k) * t**k * (1 - t) ** (order - k) for k in range(order + 1)], axis=1)
        points: Array = weights @ self.curve
        return points


@dataclass(frozen=True)
class Road:
    """A main road with as many lanes a side as told, a strip to park in and sidewalks.

    Attributes:
        lanes_a_side: 1 or 2.
        crossing: x of the middle of the road across; None without one.
    """

    lanes_a_side: int
    crossing: float | None

    @property
    def edge(self) -> float:
        """Distance of the outermost lane's edge from the middle of the road."""
        return LANE * self.lanes_a_side

    @property
    def kerb(self) -> float:
        """Distance of the sidewalk from the middle of the road."""
        return self.edge + PARKING

    @property
    def zebra(self) -> tuple[float, float] | None:
        """Where the pedestrian crossing begins and ends along x; it reaches from kerb to kerb."""
        if self.crossing is None:
            return None
        start = self.crossing - CROSSING_HALF
        return start - _ZEBRA[1], start - _ZEBRA[0]

    def lane_middle(self, number: int) -> float:
        """Distance of a lane's middle from the middle of the road; 0 is the innermost."""
        return LANE * (number + 0.5)

    @cached_property
    def lanes(self) -> tuple[Lane, ...]:
        """Every lane, with what follows it."""
        rows = range(self.lanes_a_side)
        if self.crossing is None:
            ahead = [_straight((_NEAR_END, -self.lane_middle(i)), (_FAR_END, -self.lane_middle(i))) for i in rows]
            back = [_straight((_FAR_END, self.lane_middle(i)), (_NEAR_END, self.lane_middle(i))) for i in rows]
            return tuple(Lane(curve) for curve in (*ahead, *back))
        return self._lanes_with_crossing(self.crossing)

    def _lanes_with_crossing(self, middle: float) -> tuple[Lane, ...]:
        """Per direction of the main road: lanes in, through and out; then both of the road across; then right turns."""
        before, behind = middle - CROSSING_HALF - _STOP[0], middle + CROSSING_HALF + _STOP[0]
        lanes: list[Lane] = []
        incoming: list[int] = []  # of the outermost lane of each direction
        for side, start, enter, leave, end in (
            (-1, _NEAR_END, before, behind, _FAR_END),
            (1, _FAR_END, behind, before, _NEAR_END),
        ):
            for row in range(self.lanes_a_side):
                y, first = side * self.lane_middle(row), len(lanes)
                lanes.append(Lane(_straight((start, y), (enter, y)), (first + 1,)))
                lanes.append(Lane(_straight((enter, y), (leave, y)), (first + 2,), inside=True))
                lanes.append(Lane(_straight((leave, y), (end, y))))
            incoming.append(first)
        for side in (1, -1):  # to the left of the main road, and to the right
            x, first = middle + side * LANE / 2, len(lanes)
            lanes.append(Lane(_straight((x, -side * _ACROSS_END), (x, -side * self.kerb)), (first + 1,)))
            lanes.append(Lane(_straight((x, -side * self.kerb), (x, side * self.kerb)), (first + 2,), inside=True))
            lanes.append(Lane(_straight((x, side * self.kerb), (x, side * _ACROSS_END))))
        for number, out in zip(incoming, (len(lanes) - 1, len(lanes) - 4), strict=True):
            start, end = lanes[number].curve[-1], lanes[out].curve[0]
            turn = _raised(np.array([start, [end[0], start[1], 0.0], end]))
            lanes[number] = Lane(lanes[number].curve, (*lanes[number].successors, len(lanes)))
            lanes.append(Lane(turn, (out,), inside=True))
        return tuple(lanes)

    def surface(self, x: Places, y: Places) -> Codes:
        """The kind of ground at places of one shape: ``GRASS``, ``ASPHALT`` or ``PAVEMENT``."""
        away = np.abs(y)
        codes = (away < self.kerb + SIDEWALK).astype(np.uint8) * np.uint8(PAVEMENT)
        if self.crossing is not None:
            across = np.abs(x - np.float32(self.crossing))
            codes[across < CROSSING_HALF + SIDEWALK] = PAVEMENT
            codes[across < CROSSING_HALF] = ASPHALT
        codes[away < self.kerb] = ASPHALT
        return codes

    def painted(self, x: Places, y: Places) -> Codes:
        """As :meth:`surface`, with lines, kerbs and the stripes of the pedestrian crossing."""
        codes, away = self.surface(x, y), np.abs(y)
        kerb, free = np.abs(away - self.kerb) < 0.13, np.ones(codes.shape, bool)
        if self.crossing is not None and self.zebra is not None:
            gap = np.abs(x - np.float32(self.crossing)) - CROSSING_HALF
            self._paint_crossing(codes, x, y, gap, self.crossing, self.zebra)
            kerb &= gap > 0
            free = gap > _STOP[0]
        codes[kerb] = KERB
        phase = np.mod(x, np.float32(6))
        codes[free & (away > self.edge) & (away < self.kerb) & ~kerb] = BAY
        codes[free & (np.abs(away - self.edge) < _LINE) & (np.mod(x, np.float32(1.5)) < 1)] = WHITE
        for row in range(1, self.lanes_a_side):
            codes[free & (np.abs(away - row * LANE) < _LINE) & (phase < 3)] = WHITE
        codes[free & (np.abs(away - 0.17) < _LINE)] = YELLOW
        return codes

    def _paint_crossing(
        self, codes: Codes, x: Places, y: Places, gap: Places, middle: float, zebra: tuple[float, float]
    ) -> None:
        """Stripes, lines to stop at, the road across; ``gap`` is the distance from it, negative inside."""
        away, ahead = np.abs(y), x < middle
        inside = away < self.kerb
        stripes = (x > zebra[0]) & (x < zebra[1]) & inside
        codes[stripes & (np.mod(y, np.float32(1)) < 0.5)] = WHITE
        stop = (gap > _STOP[0]) & (gap < _STOP[1]) & (away < self.edge) & (ahead == (y < 0)) & (away > 0.3)
        codes[stop] = WHITE
        codes[~inside & (gap < _LINE - CROSSING_HALF) & (np.mod(away, np.float32(4)) < 2)] = YELLOW
        codes[(np.abs(gap) < 0.13) & ~inside] = KERB


def _straight(start: Sequence[float], end: Sequence[float]) -> Array:
    """(5, 3) control points of a straight lane on the ground."""
    return np.linspace((*start, 0.0), (*end, 0.0), 5)


def _raised(curve: Array) -> Array:
    """The same curve with five control points."""
    while len(curve) < 5:
        order = len(curve)
        share = (np.arange(order + 1) / order)[:, None]
        curve = share * np.vstack([curve[:1], curve]) + (1 - share) * np.vstack([curve, curve[-1:]])
    return curve
