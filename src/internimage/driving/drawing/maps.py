"""Vector maps as people look at them: from above, what is found beside what is true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from internimage.drawing.canvas import INK, MUTED, Colour, font
from internimage.drawing.objects import class_colour
from internimage.driving.geometry.poses import Array
from internimage.driving.geometry.vector_map import REGION, VectorMap

_SMOOTH = 3  # so many times as large is drawn, for smooth lines
_GROUND: Colour = (242, 243, 241)
_RULE: Colour = (222, 225, 228)
_COLOURS: tuple[Colour, ...] = ((20, 110, 200), (218, 118, 8), (150, 40, 140))  # of the usual three classes
_EGO = (4.6, 1.9)  # metres
_RULES = 10  # metres from line to line of the squared paper
_DASH = 0.9  # metres, and as much between two
_LEGEND = 24  # pixels of a row
_DARKER = 0.55


def draw_map(
    found: VectorMap,
    classes: Sequence[str],
    *,
    truth: VectorMap | None = None,
    region: tuple[float, float] = REGION,
    height: int = 720,
    least: float = 0.3,
) -> Image.Image:
    """A picture from above, the vehicle in the middle, ahead is up, squares of 10 m; below it what the colours say.

    Args:
        found: lines in the vehicle's frame, solid.
        classes: names.
        truth: true lines, dashed, thin and darker, above the others.
        region: metres along and across.
        height: of the map in pixels; the legend comes in addition.
        least: score of the lines that are drawn.
    """
    scale = height * _SMOOTH / region[0]
    size = (round(region[1] * scale), height * _SMOOTH)
    canvas = Image.new("RGB", size, _GROUND)
    draw = ImageDraw.Draw(canvas)
    unit = max(1.0, height / 540) * _SMOOTH

    def pixels(points: Array) -> list[tuple[float, float]]:
        return [(size[0] / 2 - y * scale, size[1] / 2 - x * scale) for x, y in points.tolist()]

    _squares(draw, size, scale)
    half = np.array(_EGO) / 2
    draw.rectangle([*pixels(half[None])[0], *pixels(-half[None])[0]], fill=MUTED)
    draw.polygon(pixels(np.array([[half[0], -half[1]], [half[0], half[1]], [half[0] + 1.2, 0.0]])), fill=MUTED)
    for line, label, score in zip(found.lines, found.labels.tolist(), found.scores.tolist(), strict=True):
        if score >= least and len(line) > 1:
            draw.line(pixels(line), fill=_colour(label), width=round(2.6 * unit), joint="curve")
    if truth is not None:
        for line, label in zip(truth.lines, truth.labels.tolist(), strict=True):
            for dash in dashes(line):
                draw.line(pixels(dash), fill=_darker(_colour(label)), width=round(1.2 * unit), joint="curve")
    small = canvas.resize((size[0] // _SMOOTH, size[1] // _SMOOTH), Image.Resampling.LANCZOS)
    return _with_legend(small, classes, truth is not None)


def dashes(line: Array, length: float = _DASH) -> list[Array]:
    """Pieces of a line, each ``length`` metres long, with as much between two of them; corners stay in them."""
    line = np.asarray(line, np.float64)
    along = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
    pieces = []
    for start in np.arange(0, along[-1], 2 * length):
        end = min(start + length, along[-1])
        inner = (along > start) & (along < end)
        places = np.concatenate([[start], along[inner], [end]])
        pieces.append(np.stack([np.interp(places, along, line[:, axis]) for axis in range(2)], axis=1))
    return pieces


def _squares(draw: ImageDraw.ImageDraw, size: tuple[int, int], scale: float) -> None:
    for axis in (0, 1):
        reach = int(size[axis] / 2 / scale / _RULES)
        for number in range(-reach, reach + 1):
            place = size[axis] / 2 + number * _RULES * scale
            ends = ((place, 0), (place, size[1])) if axis == 0 else ((0, place), (size[0], place))
            draw.line(ends, fill=_RULE, width=_SMOOTH)


def _with_legend(picture: Image.Image, classes: Sequence[str], with_truth: bool) -> Image.Image:
    rows = [(_colour(label), name.replace("_", " "), False) for label, name in enumerate(classes)]
    if with_truth:
        rows.append((INK, "true", True))
    whole = Image.new("RGB", (picture.width, picture.height + _LEGEND * len(rows) + 8), _GROUND)
    whole.paste(picture, (0, 0))
    draw = ImageDraw.Draw(whole)
    for number, (colour, name, dashed) in enumerate(rows):
        y = picture.height + 4 + _LEGEND * number + _LEGEND // 2
        for start in range(12, 48, 12) if dashed else (12,):
            draw.line(((start, y), (start + 6 if dashed else 46, y)), fill=colour, width=2 if dashed else 4)
        draw.text((56, y), name, INK, font(14), anchor="lm")
    return whole


def _colour(label: int) -> Colour:
    return _COLOURS[label] if label < len(_COLOURS) else class_colour(label)


def _darker(colour: Colour) -> Colour:
    red, green, blue = (round(_DARKER * part) for part in colour)
    return red, green, blue
