"""Boxes in space over a camera's picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from internimage.drawing.canvas import Colour, font
from internimage.drawing.objects import class_colour
from internimage.driving.data.frames import Camera
from internimage.driving.geometry.boxes import Boxes
from internimage.driving.geometry.poses import Array, Pose
from internimage.driving.geometry.standing import standing_corners

Colour4 = tuple[int, int, int, int]

NEAR = 0.1
"""Metres before the camera at which lines are cut off."""
_SMOOTH = 2  # so many times as large is drawn, for smooth lines
_EDGES = np.array([(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)])
_FRONT = (0, 1, 2, 3)
_FILL, _HALO = 70, 110  # opacity


class _Pen(NamedTuple):
    """Lines of a width in pixels; ``dash`` is the length of dashes and gaps, 0 for solid ones."""

    width: int
    dash: float


def draw_boxes(
    picture: Image.Image,
    camera: Camera,
    boxes: Boxes,
    names: Sequence[str],
    *,
    truth: Boxes | None = None,
    upright: Pose | None = None,
    labels: bool = True,
) -> Image.Image:
    """The picture with the edges of boxes, their front faces tinted, nearer ones on top.

    What is behind the camera is not drawn; edges that come near it are cut at 0.1 m.

    Args:
        picture: RGB; may be smaller or larger than what the camera took.
        camera: how it looks.
        boxes: in the frame that ``camera.pose`` leads to, usually lidar.
        names: of the classes.
        truth: true boxes, drawn dashed and thin.
        upright: from the boxes' frame to one whose z axis really points up, such as lidar to global; without it they
            stand upright in their own, which may lean.
        labels: whether class and score stand at boxes that are large enough.
    """
    canvas = Image.new("RGBA", (picture.width * _SMOOTH, picture.height * _SMOOTH), (0, 0, 0, 0))
    draw = ImageDraw.Draw(canvas)
    unit = max(1.0, min(canvas.size) / 420)
    intrinsic = camera.intrinsic.copy()
    intrinsic[0] *= canvas.width / camera.size[1]
    intrinsic[1] *= canvas.height / camera.size[0]
    pose = upright or Pose.identity()
    corners = camera.pose.inverse(standing_corners(boxes, pose))
    _draw(draw, canvas.size, corners, intrinsic, boxes, _Pen(max(2, round(2 * unit)), 0))
    if truth is not None:
        true = camera.pose.inverse(standing_corners(truth, pose))
        _draw(draw, canvas.size, true, intrinsic, truth, _Pen(max(1, round(1.3 * unit)), 7 * unit))
    if labels:
        _label(draw, canvas.size, corners, intrinsic, boxes, names)
    small = canvas.resize(picture.size, Image.Resampling.BOX)
    return Image.alpha_composite(picture.convert("RGBA"), small).convert("RGB")


def _draw(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], corners: Array, intrinsic: Array, boxes: Boxes, pen: _Pen
) -> None:
    for number in np.argsort(-np.linalg.norm(corners.mean(1), axis=1)):
        colour = class_colour(int(boxes.labels[number]))
        if not pen.dash:
            face = _polygon(corners[number, _FRONT], intrinsic, size)
            if len(face) > 2:
                draw.polygon([tuple(point) for point in face], fill=(*colour, _FILL))
        first, second = projected_edges(corners[number], intrinsic, size)
        lines = [line for pair in zip(first, second, strict=True) for line in _dashes(*pair, pen.dash)]
        thin = _thinness(first, second, size)
        width, halo = max(1, round(pen.width * thin)), max(2, round(pen.width * thin))
        inks: tuple[tuple[Colour4, int], ...] = (((0, 0, 0, _HALO), width + halo), ((*colour, 255), width))
        for ink, width in inks:
            for line in lines:
                draw.line(line, fill=ink, width=width)


def _thinness(first: Array, second: Array, size: tuple[int, int]) -> float:
    """Small boxes get thinner lines, which would fill them."""
    if not len(first):
        return 1.0
    spread = np.ptp(np.concatenate([first, second]), axis=0).max()
    return float(np.clip(spread / (0.14 * min(size)), 0.4, 1))


def projected_edges(corners: Array, intrinsic: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """Beginnings and ends (M, 2) in pixels of those edges of a box that are in the picture, cut at its border.

    Args:
        corners: (8, 3) in the order of :meth:`Boxes.corners`, camera frame.
        intrinsic: (3, 3).
        size: (width, height) of the picture.
    """
    first, second = _cut(corners[_EDGES[:, 0]], corners[_EDGES[:, 1]], lambda point: point[:, 2] - NEAR)
    first, second = _projected(first, intrinsic), _projected(second, intrinsic)
    for inside in _borders(size):
        first, second = _cut(first, second, inside)
    return first, second


def _projected(points: Array, intrinsic: Array) -> Array:
    seen = points @ intrinsic.T
    pixels: Array = seen[:, :2] / seen[:, 2:]
    return pixels


def _borders(size: tuple[int, int]) -> tuple[Callable[[Array], Array], ...]:
    """How far inside each border of the picture points are."""
    width, height = size
    return (
        lambda point: point[:, 0],
        lambda point: width - point[:, 0],
        lambda point: point[:, 1],
        lambda point: height - point[:, 1],
    )


def _cut(first: Array, second: Array, inside: Callable[[Array], Array]) -> tuple[Array, Array]:
    """The parts of lines (M, D) where ``inside``, a linear function of the place, is not negative."""
    here, there = inside(first), inside(second)
    kept = (here >= 0) | (there >= 0)
    first, second, here, there = first[kept], second[kept], here[kept], there[kept]
    crosses = (here < 0) != (there < 0)
    share = np.where(crosses, here / np.where(crosses, here - there, 1), 0)[:, None]
    border = first + share * (second - first)
    return np.where(here[:, None] < 0, border, first), np.where(there[:, None] < 0, border, second)


def _polygon(corners: Array, intrinsic: Array, size: tuple[int, int]) -> Array:
    """(K, 2) pixels of a face, cut as edges are; none where nothing is seen."""
    points = _cut_polygon(corners, lambda point: point[:, 2] - NEAR)
    if not len(points):
        return np.zeros((0, 2))
    points = _projected(points, intrinsic)
    for inside in _borders(size):
        points = _cut_polygon(points, inside)
    return points


def _cut_polygon(points: Array, inside: Callable[[Array], Array]) -> Array:
    if not len(points):
        return points
    values = inside(points)
    kept: list[Array] = []
    for number in range(len(points)):
        before = number - 1
        if (values[number] < 0) != (values[before] < 0):
            share = values[before] / (values[before] - values[number])
            kept.append(points[before] + share * (points[number] - points[before]))
        if values[number] >= 0:
            kept.append(points[number])
    return np.array(kept).reshape(-1, points.shape[1])


def _dashes(first: Array, second: Array, dash: float) -> list[tuple[float, float, float, float]]:
    """A line as dashes of a length, or whole."""
    length = float(np.linalg.norm(second - first))
    if not dash or length <= dash:
        return [(*first.tolist(), *second.tolist())]
    starts = np.arange(0, length, 2 * dash)
    ends = np.minimum(starts + dash, length)
    way = (second - first) / length
    return [(*(first + a * way).tolist(), *(first + b * way).tolist()) for a, b in zip(starts, ends, strict=True)]


def _label(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    corners: Array,
    intrinsic: Array,
    boxes: Boxes,
    names: Sequence[str],
) -> None:
    """Class and score above each box that is large enough, nearest first; none over another."""
    letters = max(14, min(size) // 24)
    face = font(letters)
    taken: list[tuple[float, float, float, float]] = []
    for number in np.argsort(np.linalg.norm(corners.mean(1), axis=1)):
        ends = np.concatenate(projected_edges(corners[number], intrinsic, size))
        if not len(ends) or corners[number, :, 2].mean() <= NEAR:
            continue
        (left, top), (_, bottom) = ends.min(0), ends.max(0)
        if bottom - top < min(size) / 18:
            continue
        text = names[int(boxes.labels[number])].replace("_", " ")
        if boxes.scores[number] < 1:
            text += f" {boxes.scores[number]:.2f}"
        wide, high = face.getlength(text) + 8, letters + 6
        x, y = min(max(0.0, left), size[0] - wide), max(0.0, top - high - 2)
        if any(x < b[2] and x + wide > b[0] and y < b[3] and y + high > b[1] for b in taken):
            continue
        taken.append((x, y, x + wide, y + high))
        colour = class_colour(int(boxes.labels[number]))
        draw.rounded_rectangle(taken[-1], 4, fill=(*colour, 235))
        draw.text((x + 4, y + high / 2), text, fill=ink_on(colour), font=face, anchor="lm")


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever is easier to read on a colour."""
    red, green, blue = colour
    return (20, 20, 20) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)
