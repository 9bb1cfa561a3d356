"""A scene of the drawn world: from a seed alone, the same on every machine up to rounding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import pi
from typing import NamedTuple

import numpy as np

from internimage.driving.geometry.boxes import Boxes
from internimage.driving.geometry.poses import Array, Pose, wrapped
from internimage.driving.world.roads import CROSSING_HALF, LANE, SIDEWALK, Road
from internimage.driving.world.things import KINDS, Colour, Cuboid, Thing, populated, times_to_check

FRAME_SECONDS = 0.5
"""From one frame to the next."""

LIGHTS = ("red", "green", "yellow")
SIGNS = ("straight", "left", "right")
_HOUSING: Colour = (46, 48, 52)
_BLUE: Colour = (28, 84, 176)
_POLE: Colour = (120, 124, 128)


class EgoMotion(NamedTuple):
    """The vehicle keeps its speed along the road and sways a little in its lane: y = middle + sway sin(rate t + phase).

    ``speed`` in metres a second, ``middle`` and ``sway`` in metres, ``rate`` and ``phase`` in radians.
    """

    speed: float
    middle: float
    sway: float
    rate: float
    phase: float

    def place(self, time: Array) -> Array:
        """(..., 2) of the rear axle at times in seconds, road frame."""
        return np.stack([self.speed * time, self.middle + self.sway * np.sin(self.rate * time + self.phase)], axis=-1)

    def _sideways(self, time: Array) -> tuple[Array, Array]:
        """Speed and acceleration along y."""
        angle = self.rate * time + self.phase
        return self.sway * self.rate * np.cos(angle), -self.sway * self.rate**2 * np.sin(angle)

    def yaw(self, time: Array) -> Array:
        """Heading in radians from the road's x axis: it drives where it looks."""
        yaw: Array = np.arctan2(self._sideways(time)[0], self.speed)
        return yaw

    def pose(self, time: float) -> Pose:
        """Ego to road."""
        x, y = self.place(np.array(time))
        return flat_pose(float(self.yaw(np.array(time))), (float(x), float(y), 0.0))

    def imu(self, time: float) -> tuple[Array, Array, Array]:
        """Acceleration with gravity, rotation rate and velocity in the ego frame, (3,) each."""
        aside, bend = (float(one) for one in self._sideways(np.array(time)))
        yaw, speed = float(self.yaw(np.array(time))), float(np.hypot(self.speed, aside))
        acceleration = np.array([bend * np.sin(yaw), bend * np.cos(yaw), 9.81])
        return acceleration, np.array([0.0, 0.0, self.speed * bend / speed**2]), np.array([speed, 0.0, 0.0])


class Element(NamedTuple):
    """A traffic light or sign: its face, what it says, and the lane (its number) for which it stands."""

    cuboid: Cuboid
    says: str
    lane: int


@dataclass(frozen=True)
class Scene:
    """A road, what is on it, and the vehicle's drive.

    Attributes:
        seed: which it is.
        road: the static world; everything is in its frame.
        to_global: road to global.
        ego: the vehicle's motion.
        things: what there are boxes of.
        elements: traffic lights and signs.
        furniture: poles that hold them.
        light: how bright the day is, 0.85 to 1.1.
    """

    seed: int
    road: Road
    to_global: Pose
    ego: EgoMotion
    things: tuple[Thing, ...]
    elements: tuple[Element, ...]
    furniture: tuple[Cuboid, ...]
    light: float

    @cached_property
    def skyline(self) -> Array:
        """(1024,) tangents of the height at which the sky begins, all around from the road's x axis."""
        rng = np.random.Generator(np.random.PCG64([self.seed, 1]))
        blocks = np.repeat(rng.uniform(0.0, 0.075, 128) * (rng.random(128) < 0.55), 8)
        angle = np.arange(1024) * 2 * np.pi / 1024
        hills = sum(0.011 / k * (1 + np.sin(k * 3 * angle + rng.uniform(0, 2 * np.pi))) for k in (1, 2, 4))
        skyline: Array = np.maximum(blocks, hills)
        return skyline

    def cuboids(self, time: float) -> tuple[Cuboid, ...]:
        """Everything that is painted at a time in seconds: things in their order, then elements, then furniture."""
        return (*(one.at(time) for one in self.things), *(one.cuboid for one in self.elements), *self.furniture)

    def boxes(self, time: float) -> Boxes:
        """True boxes of the things at a time in seconds, road frame; labels are places in :data:`KINDS`."""
        cuboids, kinds = [one.at(time) for one in self.things], list(KINDS)
        return Boxes(
            np.array([one.centre for one in cuboids]).reshape(-1, 3),
            np.array([one.size for one in cuboids], dtype=np.float64).reshape(-1, 3),
            wrapped(np.array([one.yaw for one in cuboids])),
            np.array([one.velocity for one in self.things]).reshape(-1, 2),
            np.array([kinds.index(one.kind) for one in self.things], dtype=np.int64),
            np.ones(len(cuboids)),
        )


def make_scene(seed: int) -> Scene:
    """The scene of a seed, a number from 0 on."""
    rng = np.random.Generator(np.random.PCG64(seed))
    crossing = float(rng.uniform(18, 30)) if rng.random() < 0.7 else None
    road = Road(int(rng.integers(1, 3)), crossing)
    x, y = rng.uniform(200, 1200, 2)
    to_global = flat_pose(float(rng.uniform(-pi, pi)), (float(x), float(y), 0.0))
    ego = EgoMotion(
        speed=float(rng.uniform(3, 9)),
        middle=-road.lane_middle(0),
        sway=float(rng.uniform(0.1, 0.4)),
        rate=2 * pi / float(rng.uniform(6, 10)),
        phase=float(rng.uniform(-pi, pi)),
    )
    times = times_to_check()
    things = populated(road, int(rng.integers(6, 13)), (ego.place(times), ego.yaw(times)), times, rng)
    light = float(rng.uniform(0.85, 1.1))
    elements, furniture = _signals(road, rng)
    return Scene(seed, road, to_global, ego, things, elements, furniture, light)


def flat_pose(yaw: float, place: tuple[float, float, float]) -> Pose:
    """A frame with z up, turned by ``yaw`` radians, whose origin is at ``place``."""
    c, s = np.cos(yaw), np.sin(yaw)
    return Pose(np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]), np.array(place))


def _signals(road: Road, rng: np.random.Generator) -> tuple[tuple[Element, ...], tuple[Cuboid, ...]]:
    """Lights over the far side of the crossing and a sign before it, one for each lane that leads in, with poles."""
    if road.crossing is None:
        return (), ()
    far, near = road.crossing + CROSSING_HALF + 1.5, road.crossing - CROSSING_HALF - 6.0
    pole = -(road.kerb + SIDEWALK / 2)
    state = LIGHTS[int(rng.integers(len(LIGHTS)))]
    elements = []
    for row in range(road.lanes_a_side):
        y, lane = -road.lane_middle(row), 3 * row  # as Road.lanes counts them: in, through, out
        outermost = row == road.lanes_a_side - 1
        light = Cuboid(np.array([far, y, 5.0]), (0.42, 0.3, 1.15), 0.0, f"light_{state}", _HOUSING)
        says = SIGNS[int(rng.integers(2)) * 2] if outermost else SIGNS[int(rng.integers(2))]
        place = np.array([near, pole + 0.95 * row, 2.7])
        sign = Cuboid(place, (0.85, 0.06, 0.85), 0.0, f"sign_{says}", _BLUE)
        elements += [Element(light, state, lane), Element(sign, says, lane)]
    reach = -pole - LANE / 2
    arm = Cuboid(np.array([far + 0.25, pole + reach / 2, 5.3]), (reach, 0.12, 0.12), 0.0, "pole", _POLE)
    posts = [Cuboid(np.array([far + 0.25, pole, 2.7]), (0.16, 0.16, 5.4), 0.0, "pole", _POLE)]
    for row in range(road.lanes_a_side):
        posts.append(Cuboid(np.array([near + 0.1, pole + 0.95 * row, 1.2]), (0.08, 0.08, 2.4), 0.0, "pole", _POLE))
    return tuple(elements), (arm, *posts)
