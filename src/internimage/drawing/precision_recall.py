"""Precision over recall, one curve a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from internimage.drawing.canvas import INK, MUTED, PAPER, Colour, clip_text, font
from internimage.drawing.objects import class_colour

_GRID: Colour = (230, 231, 233)
_PLOT, _LEGEND, _LEFT, _TOP = 520, 250, 72, 56
_FINE = 3  # lines are drawn this much larger and scaled down, which smooths them


def precision_recall_chart(
    recall: np.ndarray[Any, Any],
    mean: np.ndarray[Any, Any],
    classes: Sequence[tuple[str, int, np.ndarray[Any, Any]]],
    title: str = "",
    heading: str = "AP50",
) -> Image.Image:
    """The mean curve, bold, over those of the classes; the legend has the area under each.

    Args:
        recall: (R,) ascending, 0 to 1.
        mean: (R,) precision, 0 to 1.
        classes: name, number (which gives the colour) and precision (R,) of each class.
        title: printed above.
        heading: of the areas.
    """
    canvas = Image.new("RGB", (_LEFT + _PLOT + 28 + _LEGEND, _TOP + _PLOT + 64), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_LEFT, 18), clip_text(title, canvas.width - _LEFT - 20, 20), fill=INK, font=font(20))
    plot = Image.new("RGB", (_PLOT * _FINE, _PLOT * _FINE), PAPER)
    lines = ImageDraw.Draw(plot)
    for tick in np.linspace(0, 1, 6):
        at = round(float(tick) * (plot.width - _FINE))
        lines.line((at, 0, at, plot.height), fill=_GRID, width=_FINE)
        lines.line((0, at, plot.width, at), fill=_GRID, width=_FINE)
        x, y = _LEFT + tick * (_PLOT - 1), _TOP + (1 - tick) * (_PLOT - 1)
        draw.text((_LEFT - 8, y), f"{tick:.1f}", fill=MUTED, font=font(13), anchor="rm")
        draw.text((x, _TOP + _PLOT + 8), f"{tick:.1f}", fill=MUTED, font=font(13), anchor="ma")
    curves = [("all classes", INK, 5, False, mean)]
    # colours of two classes can be alike: every second curve is dashed
    curves += [(name, class_colour(number), 2, i % 2 == 1, curve) for i, (name, number, curve) in enumerate(classes)]
    for _, colour, width, dashed, curve in reversed(curves):  # the mean on top
        places = np.stack([recall, 1 - curve], -1) * (plot.width - 1)
        _line(lines, places, colour, width * _FINE, 9.0 * _FINE if dashed else None)
    canvas.paste(plot.resize((_PLOT, _PLOT), Image.Resampling.BOX), (_LEFT, _TOP))
    draw.text((_LEFT + _PLOT / 2, _TOP + _PLOT + 34), "recall", fill=INK, font=font(15), anchor="ma")
    name_of_axis = Image.new("RGB", (_PLOT, 24), PAPER)
    ImageDraw.Draw(name_of_axis).text((_PLOT / 2, 12), "precision", fill=INK, font=font(15), anchor="mm")
    canvas.paste(name_of_axis.rotate(90, expand=True), (10, _TOP))
    left, right = _LEFT + _PLOT + 28, canvas.width - 24
    draw.text((right, _TOP), heading, fill=MUTED, font=font(14), anchor="rm")
    for row, (name, colour, width, dashed, curve) in enumerate(curves, start=1):
        y = _TOP + 26 * row
        _line(draw, np.array([[left, y], [left + 27, y]]), colour, width + 1, 9.0 if dashed else None)
        draw.text((left + 36, y), clip_text(name, right - left - 36 - 60, 15), fill=INK, font=font(15), anchor="lm")
        draw.text((right, y), f"{curve.mean():.1%}", fill=INK, font=font(15), anchor="rm")
    return canvas


def _line(
    draw: ImageDraw.ImageDraw, places: np.ndarray[Any, Any], colour: Colour, width: int, dash: float | None
) -> None:
    """A line through ``places`` (P, 2), whole or in dashes of the given length and gaps of half of it."""
    along = np.concatenate([[0], np.hypot(*np.diff(places, axis=0).T).cumsum()])
    ends = (
        [(0.0, along[-1])] if dash is None else [(start, start + dash) for start in np.arange(0, along[-1], 1.5 * dash)]
    )
    for start, end in ends:
        at = np.unique(np.clip([start, *along[(along > start) & (along < end)], end], 0, along[-1]))
        piece = np.stack([np.interp(at, along, places[:, axis]) for axis in (0, 1)], -1)
        draw.line([(x, y) for x, y in piece.tolist()], fill=colour, width=width, joint="curve")
