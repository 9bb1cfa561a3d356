"""Lanes as people look at them: from above with arrows, what follows what, and the signs that govern them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from internimage.drawing.canvas import INK, MUTED, font
from internimage.drawing.objects import class_colour
from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.driving.geometry.poses import Array

_SMOOTH = 3  # so many times as large is drawn, for smooth lines
_GROUND = (242, 243, 241)
_PLAIN = (96, 104, 116)
_JOINT = (20, 120, 220)
_FALSE = (214, 58, 44)
_LIGHTS = {"red": (214, 48, 40), "green": (24, 150, 66), "yellow": (226, 160, 16)}
_EGO = (4.6, 1.9)  # metres
_ARROW = 1.6  # metres
_SURE = 0.5  # of an edge that is drawn


def draw_lanes_above(
    graph: LaneGraph,
    attributes: Sequence[str],
    *,
    reach: tuple[float, float] = (52.0, 27.0),
    height: int = 720,
    least: float = 0.3,
) -> Image.Image:
    """A picture from above, the vehicle in the middle, ahead is up.

    A lane has an arrow where it ends and a dot where another goes on from it; a lane that a sign governs has the colour
    of what the sign says, and its name beside it.

    Args:
        graph: with lanes in the vehicle's frame.
        attributes: names of what traffic elements say.
        reach: metres ahead and behind, and to either side.
        height: in pixels.
        least: score of the lanes that are drawn.
    """
    scale = height * _SMOOTH / (2 * reach[0])
    size = (round(2 * reach[1] * scale), height * _SMOOTH)
    canvas = Image.new("RGB", size, _GROUND)
    draw = ImageDraw.Draw(canvas)
    unit = max(1.0, height / 540) * _SMOOTH

    def pixels(points: Array) -> list[tuple[float, float]]:
        return [(size[0] / 2 - y * scale, size[1] / 2 - x * scale) for x, y in points[:, :2].tolist()]

    half = np.array(_EGO) / 2
    draw.rectangle([*pixels(half[None])[0], *pixels(-half[None])[0]], fill=MUTED)
    shown = np.flatnonzero(graph.scores >= least).tolist()
    for number in shown:
        lane, colour = graph.lanes[number], _colour(graph, number, attributes)
        draw.line(pixels(lane), fill=colour, width=round(2 * unit), joint="curve")
        draw.polygon(pixels(_head(lane)), fill=colour)
    for row, column in np.argwhere(graph.lane_lane > _SURE).tolist():
        if row in shown and column in shown:
            ends = np.stack([graph.lanes[row][-1], graph.lanes[column][0]])
            far = np.linalg.norm(ends[0] - ends[1]) > 2 * _ARROW
            draw.line(pixels(ends), fill=_FALSE if far else _JOINT, width=round(1.5 * unit))
            x, y = pixels(ends.mean(0)[None])[0]
            radius = 2.5 * unit
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_FALSE if far else _JOINT)
    canvas = canvas.resize((size[0] // _SMOOTH, size[1] // _SMOOTH), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(canvas)
    for number in shown:
        if text := _says(graph, number, attributes):
            ((x, y),) = pixels(graph.lanes[number][-1:])
            draw.text((x / _SMOOTH + 8, y / _SMOOTH + 14 * (number % 2)), text, INK, font(12), anchor="lm")
    return canvas


def draw_elements(picture: Image.Image, graph: LaneGraph, attributes: Sequence[str], least: float = 0.3) -> Image.Image:
    """Traffic elements of at least a score in the front camera's picture."""
    drawn = picture.copy()
    draw = ImageDraw.Draw(drawn)
    unit = max(1.0, picture.height / 700)
    for box, attribute, score in zip(graph.elements, graph.attributes, graph.element_scores, strict=True):
        if score >= least:
            left, top, right, bottom = box.tolist()
            colour = _of_attribute(int(attribute), attributes)
            draw.rectangle((left, top, right, bottom), outline=colour, width=max(2, round(2 * unit)))
            text = attributes[int(attribute)].replace("_", " ")
            letters = max(10, round(12 * unit))
            draw.text((left, top - 1), text, colour, font(letters), anchor="lb", stroke_width=1, stroke_fill=(255,) * 3)
    return drawn


def _colour(graph: LaneGraph, number: int, attributes: Sequence[str]) -> tuple[int, int, int]:
    governing = np.flatnonzero(graph.lane_element[number] > _SURE)
    return _of_attribute(int(graph.attributes[governing[0]]), attributes) if len(governing) else _PLAIN


def _of_attribute(attribute: int, attributes: Sequence[str]) -> tuple[int, int, int]:
    return _LIGHTS.get(attributes[attribute]) or class_colour(attribute)


def _head(lane: Array) -> Array:
    """A triangle at the end of a lane."""
    end, away = lane[-1, :2], lane[-1, :2] - lane[:-1, :2]
    far = np.flatnonzero(np.linalg.norm(away, axis=1) > 0.3)
    along = away[far[-1]] / np.linalg.norm(away[far[-1]]) if len(far) else np.array([1.0, 0.0])
    aside = np.array([-along[1], along[0]]) * _ARROW / 2.5
    back = end - along * _ARROW
    return np.stack([end, back + aside, back - aside])


def _says(graph: LaneGraph, number: int, attributes: Sequence[str]) -> str:
    """What governs a lane."""
    governing = np.flatnonzero(graph.lane_element[number] > _SURE)
    return ", ".join(attributes[int(graph.attributes[one])].replace("_", " ") for one in governing)
