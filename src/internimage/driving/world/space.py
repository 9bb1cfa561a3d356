"""What fills the space around the vehicle in the drawn world, in Occ3D's classes.

A voxel is what its centre lies in; the ground is the one layer of voxels that its plane goes through.  The world has
no lidar: what it would see is taken to be what the cameras see.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from internimage.driving.data.occ3d import CLASSES, Mask, Space, VoxelGrid
from internimage.driving.geometry.poses import Array
from internimage.driving.world.painting import Floats, Painting, View
from internimage.driving.world.roads import ASPHALT, GRASS, PAVEMENT
from internimage.driving.world.scene import Scene
from internimage.driving.world.things import Cuboid

_FREE = CLASSES.index("free")
_GROUND = {ASPHALT: "driveable_surface", PAVEMENT: "sidewalk", GRASS: "terrain"}
_OTHER = CLASSES.index("manmade")  # lights, signs and their poles
_NEAR = 0.1  # metres before a camera


class SpaceOf:
    """Makes the space around the vehicle for a rig; what stays the same from frame to frame is computed once.

    Args:
        views: the cameras.
        grid: of the voxels.
    """

    def __init__(self, views: Sequence[View], grid: VoxelGrid) -> None:
        self.grid = grid
        x, y, _ = grid.centres()
        self._flat = np.stack(np.meshgrid(x, y, [0.0], indexing="ij"), axis=-1).reshape(-1, 3)
        self._ground = int(grid.voxel_of(np.zeros((1, 3)))[0, 2])
        self._sights = [_Sight(view, grid) for view in views]

    def __call__(self, scene: Scene, time: float, paintings: Sequence[Painting]) -> Space:
        """The space at a time in seconds, where the cameras saw these pictures."""
        ego, shape = scene.ego.pose(time), self.grid.shape
        labels = np.full(shape, _FREE, np.uint8)
        on_road = ego(self._flat)[:, :2]
        codes = scene.road.surface(on_road[:, 0], on_road[:, 1])
        numbers = np.zeros(max(_GROUND) + 1, np.uint8)
        numbers[list(_GROUND)] = [CLASSES.index(name) for name in _GROUND.values()]
        labels[:, :, self._ground] = numbers[codes].reshape(shape[:2])
        for cuboid in scene.cuboids(time):
            _fill(labels, self.grid, cuboid, ego.inverse(cuboid.centre[None])[0], cuboid.yaw - ego.yaw)
        seen = self.seen([painting.depth for painting in paintings])
        return Space(labels, seen, seen)

    def seen(self, depths: Sequence[Floats]) -> Mask:
        """(X, Y, Z) voxels whose centre some camera sees, or would see were it a voxel nearer."""
        seen = np.zeros(self.grid.shape, bool)
        for sight, depth in zip(self._sights, depths, strict=True):
            sight.add(seen, depth, self.grid.side)
        return seen


class _Sight:
    """Where a camera sees which voxels: between four pixels each, with a weight."""

    def __init__(self, view: View, grid: VoxelGrid) -> None:
        centres = np.stack(np.meshgrid(*grid.centres(), indexing="ij"), axis=-1).reshape(-1, 3)
        places = view.camera.pose.inverse(centres)
        ahead = np.flatnonzero(places[:, 2] > _NEAR)
        pixels = places[ahead] @ view.intrinsic.T
        across, down = (pixels[:, axis] / pixels[:, 2] for axis in (0, 1))
        height, width = view.size
        inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
        self.voxels = ahead[inside].astype(np.int32)
        self.away = places[self.voxels, 2].astype(np.float32)
        row, column = down[inside], across[inside]
        self.pixel = (row.astype(np.int32) * width + column.astype(np.int32)).astype(np.int32)
        # the pixel that comes next towards the place, for depths of planes; at the edge the same again
        self.row = (np.clip(np.where(row % 1 < 0.5, row - 1, row + 1), 0, height - 1).astype(np.int32) * width) + (
            column.astype(np.int32)
        )
        self.share = np.abs(row % 1 - 0.5).astype(np.float32)

    def add(self, seen: Mask, depth: Floats, side: float) -> None:
        """Mark voxels.  One over the depth of a plane is linear in a picture; rows of ground lie metres apart."""
        flat = (1 / depth).ravel()
        nearest = flat[self.pixel]
        between = nearest + (flat[self.row] - nearest) * self.share
        least = 1 / np.maximum(self.away - side, 1e-3)
        seen.ravel()[self.voxels[np.minimum(nearest, between) < least]] = True


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
