"""Things of the drawn world: cuboids that stand or move straight on, placed so that nothing ever meets."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any, NamedTuple

import numpy as np

from internimage.driving.geometry.poses import Array
from internimage.driving.world.roads import CROSSING_HALF, LANE, PARKING, SIDEWALK, Road

Colour = tuple[int, int, int]

HORIZON = 10.0
"""Seconds for which nothing meets."""
FREE_AHEAD = 8.0
"""Metres of the vehicle's own lane before it in which nothing is placed."""
_STEP = 0.25
_MARGIN = 0.35  # metres kept around what is placed
_EGO = (1.4, 5.4, 2.4)  # the vehicle itself: its middle before the rear axle, length, width, with some room


class Kind(NamedTuple):
    """A class of things.

    ``category`` of nuScenes; ``size`` width, length, height in metres; ``share`` of all; ``colours`` to choose from.
    """

    category: str
    size: tuple[float, float, float]
    share: float
    colours: tuple[Colour, ...]


_PAINTS: tuple[Colour, ...] = (
    (196, 44, 40),
    (40, 92, 180),
    (222, 222, 218),
    (52, 56, 62),
    (226, 176, 40),
    (60, 130, 84),
)
KINDS: dict[str, Kind] = {
    "car": Kind("vehicle.car", (1.9, 4.6, 1.65), 0.34, _PAINTS),
    "truck": Kind("vehicle.truck", (2.5, 7.4, 3.0), 0.11, ((214, 206, 188), (150, 176, 200), (204, 150, 90))),
    "bus": Kind("vehicle.bus.rigid", (2.8, 11.0, 3.4), 0.08, ((232, 190, 60), (206, 84, 60), (84, 160, 190))),
    "pedestrian": Kind(
        "human.pedestrian.adult", (0.65, 0.6, 1.76), 0.19, ((220, 60, 120), (60, 160, 220), (240, 210, 70))
    ),
    "bicycle": Kind("vehicle.bicycle", (0.6, 1.8, 1.5), 0.1, ((30, 170, 150), (170, 60, 190), (120, 200, 40))),
    "traffic_cone": Kind("movable_object.trafficcone", (0.42, 0.42, 1.0), 0.1, ((240, 112, 24),)),
    "barrier": Kind("movable_object.barrier", (2.4, 0.55, 1.05), 0.08, ((228, 64, 48),)),
}
"""In the order of the tables."""


@dataclass(frozen=True, eq=False)
class Cuboid:
    """An upright cuboid to be painted.

    Attributes:
        centre: (3,) metres, road frame.
        size: width, length, height; the length lies along the heading.
        yaw: radians from the road's x axis.
        look: how its faces are painted, see :mod:`internimage.driving.world.looks`.
        colour: of its body.
    """

    centre: Array
    size: tuple[float, float, float]
    yaw: float
    look: str
    colour: Colour


@dataclass(frozen=True)
class Thing:
    """What there is a box of.

    Attributes:
        kind: a key of :data:`KINDS`.
        size: width, length, height, metres.
        place: x and y at time 0, road frame.
        yaw: radians, constant; what moves moves that way.
        speed: metres a second.
        colour: of its body.
        attribute: of nuScenes, such as "vehicle.moving"; "" for none.
    """

    kind: str
    size: tuple[float, float, float]
    place: tuple[float, float]
    yaw: float
    speed: float
    colour: Colour
    attribute: str

    @property
    def velocity(self) -> tuple[float, float]:
        """Metres a second along the road's x and y."""
        return self.speed * cos(self.yaw), self.speed * sin(self.yaw)

    def at(self, time: float) -> Cuboid:
        """Where it is at a time in seconds; it stands on the ground."""
        x, y = (start + time * speed for start, speed in zip(self.place, self.velocity, strict=True))
        return Cuboid(np.array([x, y, self.size[2] / 2]), self.size, self.yaw, self.kind, self.colour)

    def footprints(self, times: Array, margin: float = 0.0) -> Array:
        """(T, 4, 2): its corners on the ground at each time, ``margin`` metres farther out."""
        middle = np.array(self.place) + times[:, None] * np.array(self.velocity)
        return rectangles(middle, np.full(len(times), self.yaw), self.size[1] + 2 * margin, self.size[0] + 2 * margin)


def rectangles(middles: Array, yaws: Array, length: float, width: float) -> Array:
    """(T, 4, 2) corners of rectangles on the ground, one after the other around it."""
    ahead = np.stack([np.cos(yaws), np.sin(yaws)], axis=1) * length / 2
    aside = np.stack([-np.sin(yaws), np.cos(yaws)], axis=1) * width / 2
    corners = [middles + ahead + aside, middles + ahead - aside, middles - ahead - aside, middles - ahead + aside]
    return np.stack(corners, axis=1)


def overlapping(first: Array, second: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of two lists of rectangles (..., 4, 2) overlap: no side of either separates them."""
    apart: Any = False
    for one in (first, second):
        for corner in (1, 3):
            normal = (one[..., corner, :] - one[..., 0, :])[..., None]
            here, there = (first @ normal)[..., 0], (second @ normal)[..., 0]
            apart |= (here.max(-1) <= there.min(-1)) | (there.max(-1) <= here.min(-1))
    return ~np.asarray(apart)


def populated(
    road: Road, count: int, ego: tuple[Array, Array], times: Array, rng: np.random.Generator
) -> tuple[Thing, ...]:
    """Things on a road that never meet each other or the vehicle.

    Args:
        road: where they are.
        count: how many; there may be fewer where no place is found.
        ego: (T, 2) places of the rear axle and (T,) yaws, at ``times``.
        times: (T,) seconds.
        rng: what chooses.
    """
    places, yaws = ego
    ahead = np.stack([np.cos(yaws), np.sin(yaws)], axis=1)
    taken = [rectangles(places + _EGO[0] * ahead, yaws, _EGO[1], _EGO[2])]
    lane = np.array([[(FREE_AHEAD - 4) / 2, -road.lane_middle(0)]])
    taken.append(np.repeat(rectangles(lane, np.zeros(1), FREE_AHEAD + 4, LANE), len(times), axis=0))
    taken[1][1:] += 1e6  # only where the drive begins
    things: list[Thing] = []
    names, shares = list(KINDS), np.array([kind.share for kind in KINDS.values()])
    for _ in range(40 * count):
        if len(things) == count:
            break
        thing = _somewhere(names[int(rng.choice(len(names), p=shares / shares.sum()))], road, rng)
        if thing is None or overlapping(thing.footprints(times, _MARGIN)[None], np.stack(taken)).any():
            continue
        things.append(thing)
        taken.append(thing.footprints(times))
    return tuple(things)


def times_to_check() -> Array:
    """(T,) seconds at which things must not meet."""
    return np.arange(0, HORIZON + _STEP / 2, _STEP)


def _somewhere(kind: str, road: Road, rng: np.random.Generator) -> Thing | None:
    """A thing at a place that suits its kind."""
    size = tuple(float(side * rng.uniform(0.92, 1.08)) for side in KINDS[kind].size)
    colours = KINDS[kind].colours
    colour = colours[int(rng.integers(len(colours)))]
    if kind in ("car", "truck", "bus"):
        found = _vehicle(kind, road, rng)
    elif kind == "pedestrian":
        found = _pedestrian(road, rng)
    elif kind == "bicycle":
        found = _bicycle(road, rng)
    else:
        side = -1 if rng.random() < 0.5 else 1
        y = road.edge + rng.uniform(-0.1, PARKING + 0.6)
        turn = rng.choice([0.0, pi / 2]) + rng.normal(0, 0.06)
        found = (float(rng.uniform(-20, 35)), float(side * y)), float(turn), 0.0, ""
    if found is None:
        return None
    place, yaw, speed, attribute = found
    return Thing(kind, (size[0], size[1], size[2]), place, yaw, speed, colour, attribute)


_Found = tuple[tuple[float, float], float, float, str]


def _vehicle(kind: str, road: Road, rng: np.random.Generator) -> _Found | None:
    side = -1 if rng.random() < 0.55 else 1  # -1 drives as the vehicle does
    yaw = 0.0 if side < 0 else pi
    where = rng.random()
    x = float(rng.uniform(-32, 48))
    if kind == "car" and where < 0.35:
        if road.crossing is not None and abs(x - road.crossing) < CROSSING_HALF + SIDEWALK + 6:
            return None
        y = side * (road.edge + PARKING / 2 + rng.normal(0, 0.08))
        return (x, float(y)), float(yaw + rng.normal(0, 0.02)), 0.0, "vehicle.parked"
    speed = float(rng.uniform(1, 14) if kind == "car" else rng.uniform(1, 11))  # which no single picture tells
    if road.crossing is not None and where > 0.8:  # on the road across, on its way out or waiting
        way = -1 if rng.random() < 0.5 else 1  # to the right or to the left
        waits = rng.random() < 0.4
        far = road.kerb + float(rng.uniform(7, 28))
        middle = road.crossing + way * LANE / 2
        place = (float(middle + rng.normal(0, 0.15)), -way * far if waits else way * far)
        return place, way * pi / 2, 0.0 if waits else speed, "vehicle.stopped" if waits else "vehicle.moving"
    y = side * (road.lane_middle(int(rng.integers(road.lanes_a_side))) + float(rng.normal(0, 0.12)))
    return (x, float(y)), yaw, speed, "vehicle.moving"


def _pedestrian(road: Road, rng: np.random.Generator) -> _Found:
    speed = 0.0 if rng.random() < 0.3 else float(rng.uniform(0.8, 1.8))
    attribute = "pedestrian.moving" if speed else "pedestrian.standing"
    back = rng.random() < 0.5
    if road.zebra is not None and rng.random() < 0.25:
        x = float(rng.uniform(road.zebra[0] + 0.4, road.zebra[1] - 0.4))
        return (x, float(rng.uniform(-road.kerb, road.kerb))), -pi / 2 if back else pi / 2, speed, attribute
    side = -1 if rng.random() < 0.5 else 1
    y = side * (road.kerb + float(rng.uniform(0.5, SIDEWALK - 0.5)))
    yaw = (pi if back else 0.0) if speed else float(rng.uniform(-pi, pi))
    return (float(rng.uniform(-15, 35)), y), yaw, speed, attribute


def _bicycle(road: Road, rng: np.random.Generator) -> _Found:
    side = -1 if rng.random() < 0.5 else 1
    yaw = 0.0 if side < 0 else pi
    x = float(rng.uniform(-20, 35))
    if rng.random() < 0.3:
        y = side * (road.kerb + float(rng.uniform(0.4, 1.0)))
        return (x, y), float(yaw + rng.normal(0, 0.1)), 0.0, "cycle.without_rider"
    y = side * (road.edge - float(rng.uniform(0.5, 0.9)))
    return (x, y), yaw, float(rng.uniform(2.5, 5)), "cycle.with_rider"
