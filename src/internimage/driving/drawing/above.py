"""The surroundings of a vehicle as seen from above."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from internimage.drawing.canvas import INK, MUTED, font
from internimage.drawing.objects import class_colour
from internimage.driving.geometry.boxes import Boxes
from internimage.driving.geometry.poses import Array

_SMOOTH = 3  # so many times as large is drawn, for smooth lines
_GROUND = (242, 243, 241)
_RING = (208, 211, 214)
_EGO = (0.46, 4.6, 1.9)  # the vehicle's middle before its lidar, length and width, metres
_BOTTOM = (0, 1, 5, 4)  # corners on the ground, the front two first


def draw_above(boxes: Boxes, *, truth: Boxes | None = None, size: int = 480, reach: float = 52.0) -> Image.Image:
    """A square picture, the vehicle in the middle, ahead is up; a ring each 10 m.

    A box has the colour of its class, a line from its middle to its front, and a dark line that leads to where it
    will be in a second.

    Args:
        boxes: in the lidar frame (x right, y forward), filled and solid.
        truth: true boxes, drawn dashed, thin and empty.
        size: of a side, pixels.
        reach: metres from the middle to a side.
    """
    canvas = Image.new("RGB", (size * _SMOOTH, size * _SMOOTH), _GROUND)
    draw = ImageDraw.Draw(canvas, "RGBA")
    scale = canvas.width / (2 * reach)
    unit = max(1.0, size / 420) * _SMOOTH
    _rings(draw, canvas.width, scale, reach, unit)
    _vehicle(draw, canvas.width, scale)
    if truth is not None:
        _draw(draw, truth, canvas.width, scale, unit, dashed=True)
    _draw(draw, boxes, canvas.width, scale, unit, dashed=False)
    return canvas.resize((size, size), Image.Resampling.LANCZOS)


def _pixels(points: Array, width: int, scale: float) -> Array:
    """(..., 2) pixels of places x, y in metres."""
    return width / 2 + points[..., :2] * np.array([scale, -scale])


def _rings(draw: ImageDraw.ImageDraw, width: int, scale: float, reach: float, unit: float) -> None:
    middle = width / 2
    for axis in ((0, middle, width, middle), (middle, 0, middle, width)):
        draw.line(axis, fill=_RING, width=max(1, round(unit / 3)))
    size = round(9 * unit)
    for metres in range(10, int(reach * 1.42), 10):
        radius = metres * scale
        place = (middle - radius, middle - radius, middle + radius, middle + radius)
        draw.ellipse(place, outline=_RING, width=max(1, round(unit / 2)))
        if metres < reach:
            draw.text((middle + unit * 2, middle + radius - unit), f"{metres} m", MUTED, font(size), anchor="lb")


def _vehicle(draw: ImageDraw.ImageDraw, width: int, scale: float) -> None:
    ahead, length, wide = _EGO
    x, y = wide / 2, length / 2
    outline = np.array([(-x, ahead - y), (x, ahead - y), (x, ahead + y * 0.55), (0, ahead + y), (-x, ahead + y * 0.55)])
    draw.polygon([tuple(point) for point in _pixels(outline, width, scale)], fill=INK)


def _draw(draw: ImageDraw.ImageDraw, boxes: Boxes, width: int, scale: float, unit: float, *, dashed: bool) -> None:
    corners = _pixels(boxes.corners()[:, _BOTTOM], width, scale)
    middles = _pixels(boxes.centres, width, scale)
    later = _pixels(boxes.centres[:, :2] + boxes.velocities, width, scale)
    line = max(1, round((0.9 if dashed else 1.4) * unit))
    for number in range(len(boxes)):
        colour = class_colour(int(boxes.labels[number]))
        outline = [tuple(point) for point in corners[number]]
        if dashed:
            for first, second in pairwise([*corners[number], corners[number][0]]):
                _dashed(draw, first, second, colour, line, 2.6 * unit)
        else:
            draw.polygon(outline, fill=(*colour, 90))
            draw.line([*outline, *outline[:2]], fill=colour, width=line, joint="curve")
        front = (corners[number][0] + corners[number][1]) / 2
        draw.line([tuple(middles[number]), tuple(front)], fill=colour, width=line)
        moved = later[number] - middles[number]
        if np.isfinite(moved).all() and np.hypot(*moved) > 0.5 * scale:
            draw.line([tuple(middles[number]), tuple(later[number])], fill=(*INK, 200), width=max(1, round(0.8 * unit)))
            _head(draw, later[number], moved / np.hypot(*moved), 2.4 * unit)


def _head(draw: ImageDraw.ImageDraw, tip: Array, way: Array, length: float) -> None:
    """An arrow's head."""
    aside, base = np.array([-way[1], way[0]]) * length * 0.5, tip - way * length
    draw.polygon([tuple(tip), tuple(base + aside), tuple(base - aside)], fill=(*INK, 200))


def _dashed(
    draw: ImageDraw.ImageDraw, first: Array, second: Array, colour: Sequence[int], line: int, dash: float
) -> None:
    length = float(np.hypot(*(second - first)))
    count = max(1, round(length / dash)) | 1  # begins and ends with a dash
    ends = first + np.linspace(0, 1, count + 1)[:, None] * (second - first)
    for number in range(0, count, 2):
        draw.line([tuple(ends[number]), tuple(ends[number + 1])], fill=tuple(colour), width=line)
