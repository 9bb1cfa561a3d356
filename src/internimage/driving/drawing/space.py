"""Filled space as people look at it: from behind and above, from straight above, and layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from internimage.driving.data.occ3d import CLASSES, VoxelGrid, Voxels
from internimage.driving.geometry.poses import Array

COLOURS = np.array(
    [
        (72, 72, 78),  # others
        (178, 112, 214),  # barrier
        (240, 120, 170),  # bicycle
        (250, 186, 52),  # bus
        (222, 70, 58),  # car
        (160, 92, 40),  # construction vehicle
        (236, 92, 150),  # motorcycle
        (40, 92, 220),  # pedestrian
        (250, 132, 30),  # traffic cone
        (130, 60, 60),  # trailer
        (140, 40, 120),  # truck
        (150, 152, 156),  # driveable surface
        (176, 148, 132),  # other flat
        (206, 196, 176),  # sidewalk
        (160, 196, 116),  # terrain
        (196, 190, 210),  # manmade
        (64, 142, 74),  # vegetation
        (255, 255, 255),  # free
    ],
    np.uint8,
)
"""Of ``CLASSES``."""

_FREE = len(CLASSES) - 1
_SKY = (236, 240, 244)
_EYE = np.array([-34.0, -16.0, 24.0])  # metres in the vehicle's frame
_TARGET = np.array([6.0, 0.0, 0.0])
_ANGLE = 52.0  # degrees that a picture is wide
_STEP = 0.45  # of a voxel
_SHADES = np.array([0.78, 0.9, 1.06])  # of faces across x, y and z
_WIDEST = 640  # pixels that are followed; wider pictures are made larger
_BLOCK = 1 << 17  # rays that are followed together


def draw_space(labels: Voxels, grid: VoxelGrid, size: tuple[int, int] = (720, 405)) -> Image.Image:
    """A perspective picture (width, height) from behind and above the vehicle, ahead is into the picture.

    Args:
        labels: (X, Y, Z) numbers of ``CLASSES``; others than these are left out.
        grid: where the voxels are.
        size: in pixels.
    """
    if size[0] > _WIDEST:
        small = draw_space(labels, grid, (_WIDEST, round(size[1] * _WIDEST / size[0])))
        return small.resize(size, Image.Resampling.BICUBIC)
    rays = _rays(size)
    colours = np.empty((len(rays), 3))
    for first in range(0, len(rays), _BLOCK):
        part = slice(first, first + _BLOCK)
        colours[part] = _followed(labels, grid, rays[part])
    pixels = np.clip(colours, 0, 255).astype(np.uint8).reshape(size[1], size[0], 3)
    return Image.fromarray(pixels)


def draw_space_above(labels: Voxels, grid: VoxelGrid, size: int = 540) -> Image.Image:
    """What is highest at each place as seen from above, ahead is up; what is high is lighter."""
    filled = labels < _FREE
    top = labels.shape[2] - 1 - np.argmax(filled[:, :, ::-1], axis=2)
    highest = np.take_along_axis(labels, top[:, :, None], axis=2)[:, :, 0]
    shade = 0.86 + 0.28 * top / max(1, labels.shape[2] - 1)
    pixels = np.where(filled.any(axis=2, keepdims=True), COLOURS[np.minimum(highest, _FREE)] * shade[..., None], _SKY)
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)[::-1, ::-1])  # x up, y to the left
    return picture.resize((round(size * labels.shape[1] / labels.shape[0]), size), Image.Resampling.NEAREST)


def _rays(size: tuple[int, int]) -> Array:
    """(pixels, 3) directions of length 1."""
    ahead = (_TARGET - _EYE) / np.linalg.norm(_TARGET - _EYE)
    right = np.cross(ahead, (0, 0, 1))
    right /= np.linalg.norm(right)
    down = np.cross(ahead, right)
    width, height = size
    scale = 2 * np.tan(np.radians(_ANGLE) / 2) / width
    u, v = (np.arange(width) + 0.5 - width / 2) * scale, (np.arange(height) + 0.5 - height / 2) * scale
    rays = ahead + u[None, :, None] * right + v[:, None, None] * down
    rays /= np.linalg.norm(rays, axis=2, keepdims=True)
    result: Array = rays.reshape(-1, 3)
    return result


def _followed(labels: Voxels, grid: VoxelGrid, rays: Array) -> Array:
    """(R, 3) colours of the first voxel that each ray meets."""
    colours = np.empty((len(rays), 3))
    colours[:] = _SKY
    low, high = np.array(grid.extent[:3]), np.array(grid.extent[3:])
    filled = np.flatnonzero((labels < _FREE).any((0, 1)))  # rays cross no more layers than there is something in
    if not len(filled):
        return colours
    low[2], high[2] = grid.start[2] + grid.side * filled[0], grid.start[2] + grid.side * (filled[-1] + 1)
    with np.errstate(divide="ignore"):
        ends = np.stack([(low - _EYE) / rays, (high - _EYE) / rays])
    enter, leave = ends.min(0).max(1), ends.max(0).min(1)
    active = np.flatnonzero((leave > enter) & (leave > 0))
    step = _STEP * grid.side
    along = np.maximum(enter[active], 0.0) + step / 2
    while len(active):
        voxels = grid.voxel_of(_EYE + rays[active] * along[:, None])
        inside = ((voxels >= 0) & (voxels < labels.shape)).all(1)
        found = np.full(len(active), _FREE, np.int64)
        found[inside] = labels[tuple(voxels[inside].T)]
        hit = found < _FREE
        if hit.any():
            faces = _faces(labels, grid, voxels[hit], rays[active[hit]])
            colours[active[hit]] = _edged(COLOURS[found[hit]] * _SHADES[faces][:, None], voxels[hit])
        left = ~hit & (along < leave[active])
        active, along = active[left], along[left] + step
    return colours


def _faces(labels: Voxels, grid: VoxelGrid, voxels: Any, rays: Array) -> Any:
    """The axis across which each ray comes in; a face that a neighbour covers is none."""
    ways = -np.sign(rays).astype(np.int64)  # towards the eye
    planes = (voxels + (ways > 0)) * grid.side + np.array(grid.start)
    with np.errstate(divide="ignore", invalid="ignore"):
        entries = (planes - _EYE) / rays
    for axis in range(3):
        neighbours = voxels.copy()
        neighbours[:, axis] += ways[:, axis]
        inside = ((neighbours >= 0) & (neighbours < labels.shape)).all(1)
        covered = np.zeros(len(voxels), bool)
        covered[inside] = labels[tuple(neighbours[inside].T)] < _FREE
        entries[covered | (ways[:, axis] == 0), axis] = -np.inf
    return entries.argmax(1)


def _edged(colours: Any, voxels: Any) -> Any:
    """Neighbours a little lighter and darker, so that single voxels are told apart."""
    return colours * np.where(voxels.sum(1) % 2, 1.0, 0.955)[:, None]
