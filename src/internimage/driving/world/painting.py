"""From a scene to pictures: one ray a pixel, nearest surface wins, NumPy alone.

Pixels and the depth buffer share the rays: the ray of pixel (i, j) goes through (j + 0.5, i + 0.5) and has depth 1, so
that the number at which it meets a surface is the surface's depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from internimage.driving.geometry.poses import Array, Pose
from internimage.driving.world.looks import BOTTOM, FRONT, LEFT, REAR, RIGHT, TOP, colours_of
from internimage.driving.world.rig import RigCamera
from internimage.driving.world.roads import ASPHALT, BAY, GRASS, KERB, PAVEMENT, WHITE, YELLOW
from internimage.driving.world.scene import Scene
from internimage.driving.world.things import Cuboid

Floats = np.ndarray[Any, np.dtype[np.float32]]
Integers = np.ndarray[Any, np.dtype[np.integer[Any]]]

_NEAR = 0.1
_HAZE_LENGTH = 110.0  # metres after which 63 % of a colour is haze
_STEPS = 64  # of haze
_GRAIN = 4
_HAZE = np.array([198, 210, 222], np.float32)
_ZENITH = np.array([92, 142, 206], np.float32)
_SKYLINE = np.array([150, 166, 178], np.float32)
_GROUND = {
    GRASS: (104, 132, 74),
    ASPHALT: (92, 94, 98),
    PAVEMENT: (158, 154, 146),
    WHITE: (236, 236, 232),
    YELLOW: (226, 184, 60),
    KERB: (196, 194, 188),
    BAY: (84, 86, 90),
}


@dataclass(frozen=True, eq=False)
class Painting:
    """A picture and what is known of each pixel.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        depth: (H, W) float32 metres along the camera's axis; infinite in the sky.
        owner: (H, W) int16 number of the cuboid that is seen; -1 for ground and sky.
        outlines: (N,) int64, how many pixels each cuboid would have alone.
    """

    pixels: np.ndarray[Any, np.dtype[np.uint8]]
    depth: Floats
    owner: np.ndarray[Any, np.dtype[np.int16]]
    outlines: np.ndarray[Any, np.dtype[np.int64]]


class View:
    """A camera at one size: what stays the same while the vehicle drives on flat ground.

    Args:
        camera: of a rig.
        scale: of the picture, 1 for full size.

    Attributes:
        camera: as given.
        size: (height, width).
        intrinsic: (3, 3) of the scaled picture.
    """

    def __init__(self, camera: RigCamera, scale: float) -> None:
        self.camera = camera
        self.size, self.intrinsic = camera.scaled(scale)
        height, width = self.size
        pose = camera.pose
        rays = pose.rotation @ np.linalg.inv(self.intrinsic)
        grid = np.stack(np.broadcast_arrays(np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5, 1.0))
        directions = np.tensordot(rays, grid, 1).reshape(3, -1)
        below = directions[2] < -1e-4
        self._ground, self._sky = np.flatnonzero(below), np.flatnonzero(~below)
        depth = np.full(height * width, np.inf)
        depth[below] = pose.translation[2] / -directions[2, below]
        self._depth = depth.astype(np.float32).reshape(self.size)
        at = directions[:2, below] * depth[below] + pose.translation[:2, None]
        self._x, self._y = at.astype(np.float32)
        self._haze = _haze(np.hypot(*at)).astype(np.int32) * (_GRAIN * len(_GROUND))
        away = directions[:, ~below]
        flat = np.hypot(away[0], away[1])
        self._turn = (np.arctan2(away[1], away[0]) * (1024 / (2 * np.pi))).astype(np.int32)
        self._climb = (away[2] / flat).astype(np.float32)
        self._height = np.clip(self._climb * 96, 0, _STEPS - 1).astype(np.int32)

    def painted(self, scene: Scene, time: float, cuboids: Sequence[Cuboid] | None = None) -> Painting:
        """The scene at a time in seconds; ``cuboids`` stand for its own if given."""
        ego = scene.ego.pose(time)
        shown = scene.cuboids(time) if cuboids is None else cuboids
        packed = np.empty(self._depth.size, np.dtype("<u4"))
        self._paint_ground(packed, scene, ego)
        self._paint_sky(packed, scene, ego)
        depth, owner = self._depth.copy(), np.full(self.size, -1, np.int16)
        outlines = np.zeros(len(shown), np.int64)
        camera = ego @ self.camera.pose
        for number, cuboid in enumerate(shown):
            outlines[number] = self._paint_cuboid(packed, depth, owner, number, cuboid, camera, scene.light)
        pixels = packed.view(np.uint8).reshape(*self.size, 4)[..., :3]
        return Painting(pixels, depth, owner, outlines)

    def _paint_ground(self, packed: Any, scene: Scene, ego: Pose) -> None:
        (c, s), (x0, y0) = ego.rotation[:2, 0].astype(np.float32), ego.translation[:2].astype(np.float32)
        x, y = c * self._x - s * self._y + x0, s * self._x + c * self._y + y0
        codes = scene.road.painted(x, y).astype(np.int32)
        grain = ((x * 5).astype(np.int32) * 7 ^ (y * 5).astype(np.int32) * 13) & (_GRAIN - 1)
        codes *= _GRAIN
        codes += grain
        codes += self._haze
        packed[self._ground] = _ground_colours(scene.light)[codes]

    def _paint_sky(self, packed: Any, scene: Scene, ego: Pose) -> None:
        turned = (self._turn + round(ego.yaw * 1024 / (2 * np.pi))) & 1023
        height = self._height.copy()
        height[self._climb < scene.skyline.astype(np.float32)[turned]] = _STEPS
        share = np.linspace(0, 1, _STEPS)[:, None] ** 0.7
        colours = np.concatenate([_HAZE * (1 - share) + _ZENITH * share, _SKYLINE[None]]) * scene.light
        packed[self._sky] = _packed(colours)[height]

    def _paint_cuboid(
        self, packed: Any, depth: Any, owner: Any, number: int, cuboid: Cuboid, camera: Pose, light: float
    ) -> int:
        """Paint where it is nearer than what is there; how many pixels it would have alone."""
        window = self._window(cuboid, camera)
        if window is None:
            return 0
        top, bottom, left, right = window
        turn = np.array(
            [[np.cos(cuboid.yaw), np.sin(cuboid.yaw), 0], [-np.sin(cuboid.yaw), np.cos(cuboid.yaw), 0], [0, 0, 1]]
        )
        start = turn @ (camera.translation - cuboid.centre)
        rays = turn @ camera.rotation @ np.linalg.inv(self.intrinsic)
        u, v = np.arange(left, right) + 0.5, np.arange(top, bottom)[:, None] + 0.5
        half = np.array(cuboid.size)[[1, 0, 2]] / 2
        directions, nears, exit_ = [], [], None
        for axis in range(3):
            direction = ((rays[axis, 0] * u) + (rays[axis, 1] * v + rays[axis, 2])).astype(np.float32)
            direction[direction == 0] = 1e-12
            inverse = 1 / direction
            middle, reach = np.float32(-start[axis]) * inverse, np.abs(np.float32(half[axis]) * inverse)
            nears.append(middle - reach)
            exit_ = middle + reach if exit_ is None else np.minimum(exit_, middle + reach)
            directions.append(direction)
        enter = np.maximum(np.maximum(nears[0], nears[1]), nears[2])
        hit = (enter < exit_) & (enter > _NEAR)
        part = depth[top:bottom, left:right]
        seen = hit & (enter < part)
        rows, columns = np.nonzero(seen)
        if len(rows):
            along = enter[rows, columns]
            ways = np.stack([one[rows, columns] for one in directions], axis=1)
            axes = np.argmax(np.stack([near[rows, columns] for near in nears]), axis=0)
            back = np.take_along_axis(ways, axes[:, None], 1)[:, 0] > 0
            faces = np.array([[FRONT, REAR], [LEFT, RIGHT], [TOP, BOTTOM]], np.uint8)[axes, back.astype(int)]
            places = ((start + along[:, None] * ways) / half).astype(np.float32)
            share = _haze_share(along)[:, None]
            colours = colours_of(cuboid, faces, places) * (light * (1 - share)) + _HAZE * (light * share)
            part[rows, columns] = along
            owner[top:bottom, left:right][rows, columns] = number
            packed[(rows + top) * self.size[1] + columns + left] = _packed(colours)
        return int(hit.sum())

    def _window(self, cuboid: Cuboid, camera: Pose) -> tuple[int, int, int, int] | None:
        """Rows and columns in which it can be: top, bottom, left, right; None if it is not in the picture."""
        width, length, height = cuboid.size
        signs = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
        local = signs * (length, width, height)
        c, s = np.cos(cuboid.yaw), np.sin(cuboid.yaw)
        turned = np.stack([c * local[:, 0] - s * local[:, 1], s * local[:, 0] + c * local[:, 1], local[:, 2]], axis=1)
        corners = camera.inverse(turned + cuboid.centre)
        if corners[:, 2].max() <= _NEAR:
            return None
        if corners[:, 2].min() <= _NEAR:
            corners = _before(corners)
        seen = corners @ self.intrinsic.T
        u, v = seen[:, 0] / seen[:, 2], seen[:, 1] / seen[:, 2]
        rows, columns = self.size
        left, right = max(0, int(np.floor(u.min()))), min(columns, int(np.ceil(u.max())) + 1)
        top, bottom = max(0, int(np.floor(v.min()))), min(rows, int(np.ceil(v.max())) + 1)
        return None if left >= right or top >= bottom else (top, bottom, left, right)


def _before(corners: Array) -> Array:
    """Corners before the camera, and where lines from them to those behind come near it."""
    depth = corners[:, 2]
    front, back = corners[depth > _NEAR], corners[depth <= _NEAR]
    share = ((front[:, None, 2] - _NEAR) / (front[:, None, 2] - back[None, :, 2]))[..., None]
    between = front[:, None] + share * (back[None] - front[:, None])
    return np.concatenate([front, between.reshape(-1, 3)])


def _haze_share(distance: Any) -> Any:
    return 0.85 * (1 - np.exp(distance * np.float32(-1 / _HAZE_LENGTH)))


def _haze(distance: Any) -> Any:
    return np.round(_haze_share(distance) * (_STEPS - 1))


def _ground_colours(light: float) -> Integers:
    """Packed colours by step of haze, code of the ground and grain, in this order of significance."""
    base = np.array([_GROUND[code] for code in sorted(_GROUND)], np.float32)
    grains = np.linspace(0.95, 1.05, _GRAIN, dtype=np.float32)
    share = (np.arange(_STEPS, dtype=np.float32) / (_STEPS - 1))[:, None, None, None]
    colours = base[None, :, None] * grains[:, None] * (1 - share) + _HAZE * share
    return _packed((colours * light).reshape(-1, 3))


def _packed(colours: Any) -> Integers:
    """Colours (N, 3) of 0 to 255 as little-endian numbers whose bytes are red, green, blue and nothing."""
    channels = np.clip(np.round(colours), 0, 255).astype(np.dtype("<u4"))
    return channels[:, 0] | channels[:, 1] << 8 | channels[:, 2] << 16
