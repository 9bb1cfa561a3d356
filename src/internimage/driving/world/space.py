"""What fills the space around the vehicle in the drawn world, in Occ3D's classes.

A voxel is what its centre lies in; the ground is one layer, the highest whose centre lies below it.  The world has no
lidar: what it would see is taken to be what the cameras see.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from internimage.driving.data.occ3d import CLASSES, Mask, Space, VoxelGrid
from internimage.driving.geometry.poses import Array
from internimage.driving.world.painting import Painting, View
from internimage.driving.world.roads import ASPHALT, GRASS, PAVEMENT
from internimage.driving.world.scene import Scene
from internimage.driving.world.things import Cuboid

_FREE = CLASSES.index("free")
_GROUND = {ASPHALT: "driveable_surface", PAVEMENT: "sidewalk", GRASS: "terrain"}
_OTHER = CLASSES.index("manmade")  # lights, signs and their poles
_NEAR = 0.1  # metres before a camera


def space_of(scene: Scene, time: float, views: Sequence[View], paintings: Sequence[Painting], grid: VoxelGrid) -> Space:
    """The space around the vehicle at a time in seconds.

    Args:
        scene: drawn.
        time: in seconds.
        views, paintings: the cameras, and what they saw then.
        grid: of the voxels.
    """
    ego = scene.ego.pose(time)
    x, y, z = grid.centres()
    labels = np.full(grid.shape, _FREE, np.uint8)
    flat = np.stack(np.meshgrid(x, y, [0.0], indexing="ij"), axis=-1)[:, :, 0]
    on_road = ego(flat.reshape(-1, 3))[:, :2].reshape(*grid.shape[:2], 2)
    codes = scene.road.surface(on_road[..., 0], on_road[..., 1])
    numbers = np.zeros(max(_GROUND) + 1, np.uint8)
    numbers[list(_GROUND)] = [CLASSES.index(name) for name in _GROUND.values()]
    labels[:, :, np.flatnonzero(z < -1e-9)[-1]] = numbers[codes]
    for cuboid in scene.cuboids(time):
        _fill(labels, grid, cuboid, ego.inverse(cuboid.centre[None])[0], cuboid.yaw - ego.yaw)
    seen = seen_by(views, [painting.depth for painting in paintings], grid)
    return Space(labels, seen, seen)


def _fill(labels: np.ndarray, grid: VoxelGrid, cuboid: Cuboid, centre: Array, yaw: float) -> None:  # type: ignore[type-arg]
    """Name the voxels whose centres lie in a cuboid, its surface included."""
    width, length, height = cuboid.size
    reach = np.array([np.hypot(width, length) / 2, np.hypot(width, length) / 2, height / 2])
    low = np.clip(grid.voxel_of((centre - reach)[None])[0], 0, grid.shape)
    high = np.clip(grid.voxel_of((centre + reach)[None])[0] + 1, 0, grid.shape)
    if (low >= high).any():
        return
    axes = [one[first:last] for one, first, last in zip(grid.centres(), low, high, strict=True)]
    x, y, z = (own - middle for own, middle in zip(np.meshgrid(*axes, indexing="ij"), centre, strict=True))
    along, across = x * np.cos(yaw) + y * np.sin(yaw), y * np.cos(yaw) - x * np.sin(yaw)
    inside = (2 * np.abs(along) <= length + 1e-9) & (2 * np.abs(across) <= width + 1e-9)
    inside &= 2 * np.abs(z) <= height + 1e-9
    number = CLASSES.index(cuboid.look) if cuboid.look in CLASSES else _OTHER
    part = labels[tuple(slice(first, last) for first, last in zip(low, high, strict=True))]
    part[inside] = number


def seen_by(views: Sequence[View], depths: Sequence[np.ndarray], grid: VoxelGrid) -> Mask:  # type: ignore[type-arg]
    """(X, Y, Z) voxels whose centre some camera sees, or would see were it a voxel nearer."""
    centres = np.stack(np.meshgrid(*grid.centres(), indexing="ij"), axis=-1).reshape(-1, 3)
    seen = np.zeros(len(centres), bool)
    for view, depth in zip(views, depths, strict=True):
        places = view.camera.pose.inverse(centres)
        ahead = np.flatnonzero(places[:, 2] > _NEAR)
        pixels = places[ahead] @ view.intrinsic.T
        column, row = (np.floor(pixels[:, axis] / pixels[:, 2]).astype(np.int64) for axis in (0, 1))
        height, width = depth.shape
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        ahead, column, row = ahead[inside], column[inside], row[inside]
        seen[ahead] |= places[ahead, 2] < depth[row, column] + grid.side
    return seen.reshape(grid.shape)
