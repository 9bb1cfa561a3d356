"""Curves over a common axis, one small chart each."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise

from PIL import Image, ImageDraw

from internimage.drawing.canvas import ACCENT, INK, MUTED, PAPER, Colour, clip_text, font

_GRID: Colour = (230, 231, 233)
_LEAST = 1e-6  # of a value: what changes less is noise of its floating-point numbers


def curve_charts(
    x: Sequence[float],
    series: Sequence[tuple[str, Sequence[float]]],
    *,
    axis: str = "",
    title: str = "",
    columns: int = 3,
    size: tuple[int, int] = (340, 220),
    large: Collection[str] = (),
) -> Image.Image:
    """A chart for each named series of values at ``x``, each with a scale of its own; gaps where values are not finite.

    The last value is printed beside the name, and the point that it belongs to is marked.  Series that are named in
    ``large`` come first, two a row over the whole width.
    """
    ordered = sorted(series, key=lambda one: one[0] not in large)
    big = sum(name in large for name, _ in series)
    columns = max(min(2, big), min(columns, len(series) - big), 1)
    margin, top = 20, 56 if title else 20
    wide = columns * size[0] // max(1, min(2, big)), round(1.4 * size[1])
    below = top + -(-big // 2) * wide[1]  # the ordinary ones begin here
    height = below + -(-(len(series) - big) // columns) * size[1] + margin
    canvas = Image.new("RGB", (2 * margin + columns * size[0], height), PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((margin, 16), clip_text(title, canvas.width - 2 * margin, 20), fill=INK, font=font(20))
    for index, (name, values) in enumerate(ordered):
        if index < big:
            width, step, place, upper = *wide, index % 2, top + index // 2 * wide[1]
        else:
            width, step = size
            place, upper = (index - big) % columns, below + (index - big) // columns * step
        left = margin + place * width
        _chart(draw, (left, upper, left + width - 24, upper + step - 18), x, name, values, axis)
    return canvas


def _chart(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    x: Sequence[float],
    name: str,
    values: Sequence[float],
    axis: str,
) -> None:
    finite = [value for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    texts = [f"{tick:.{_digits(ticks)}g}" for tick in ticks]
    left = box[0] + 8 + max(int(font(12).getlength(text)) for text in texts)
    right, upper, lower = box[2], box[1] + 26, box[3] - 22

    def place(at: float, value: float) -> tuple[float, float]:
        across = (at - x[0]) / ((x[-1] - x[0]) or 1.0)
        return left + across * (right - left), lower - (value - low) / ((high - low) or 1.0) * (lower - upper)

    last = f"{values[-1]:.{max(4, _digits(ticks))}g}" if len(values) else ""
    draw.text((box[0], box[1]), clip_text(name, right - box[0] - 70, 15), fill=INK, font=font(15))
    draw.text((right, box[1]), last, fill=ACCENT, font=font(15), anchor="ra")
    for tick, text in zip(ticks, texts, strict=True):
        y = place(x[0], tick)[1]
        draw.line((left, y, right, y), fill=_GRID)
        draw.text((left - 6, y), text, fill=MUTED, font=font(12), anchor="rm")
    draw.text((left, lower + 5), f"{axis} {x[0]:g}".strip(), fill=MUTED, font=font(12))
    draw.text((right, lower + 5), f"{x[-1]:g}", fill=MUTED, font=font(12), anchor="ra")
    points = [place(at, value) if math.isfinite(value) else None for at, value in zip(x, values, strict=True)]
    for start, end in pairwise(points):
        if start is not None and end is not None:
            draw.line((*start, *end), fill=ACCENT, width=2)
    for point in points if len(points) == 1 else points[-1:]:
        if point is not None:
            draw.ellipse((point[0] - 4, point[1] - 4, point[0] + 4, point[1] + 4), fill=ACCENT)


def _ticks(low: float, high: float) -> list[float]:
    """Two to five round values that span ``low`` to ``high``."""
    span = max(high - low, _LEAST * max(abs(low), abs(high))) if high > low else abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span))
    step = next(step * factor for factor in (0.5, 1.0, 2.0, 5.0) if span / (step * factor) <= 3)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _digits(ticks: Sequence[float]) -> int:
    """Significant digits that tell all of these values apart."""
    largest = max(abs(tick) for tick in ticks)
    return max(1, math.floor(math.log10(largest)) - math.floor(math.log10(ticks[1] - ticks[0])) + 1)
