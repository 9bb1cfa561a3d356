"""Regions of a picture as colours over it, with a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from internimage.drawing.canvas import INK, MUTED, PAPER, Colour, clip_middle, font

_EDGE_SHARE = 0.9
_LINES = 12  # of a legend that may make a small picture's sheet higher than the picture


def draw_regions(
    image: Image.Image,
    label_map: np.ndarray[Any, Any],
    colours: np.ndarray[Any, Any],
    legend: Sequence[tuple[str, str, Colour]],
    opacity: float,
) -> Image.Image:
    """The picture with each pixel tinted, borders of regions stronger, and a legend at the right.

    Args:
        image: RGB.
        label_map: (H, W) numbers, rows of ``colours``.
        colours: (K, 3) uint8.
        legend: a name, a note and a colour for each line; what does not fit beside the picture is counted, from
            ``_LINES`` lines on.
        opacity: share of the tint, 0 to 1.
    """
    unit = max(1.0, min(image.size) / 500)
    share = np.full(label_map.shape, opacity, np.float32)
    reach = max(1, round(unit))
    for axis in (0, 1):
        edge = label_map != np.roll(label_map, reach, axis)
        edge[(slice(None),) * axis + (slice(0, reach),)] = False
        share[edge] = max(opacity, _EDGE_SHARE)
    share = share[..., None]
    tinted = np.asarray(image, np.float32) * (1 - share) + colours[label_map].astype(np.float32) * share
    picture = Image.fromarray(np.round(tinted).astype(np.uint8))
    return _with_legend(picture, legend, unit) if legend else picture


def _with_legend(picture: Image.Image, legend: Sequence[tuple[str, str, Colour]], unit: float) -> Image.Image:
    size = max(11, round(13 * unit))
    line, margin = round(1.6 * size), round(0.8 * size)
    longest = max(font(size).getlength(text) for text, _, _ in legend)
    noted = max(font(size).getlength(note) for _, note, _ in legend)
    room = min(round(longest), 14 * size)  # for names
    width = room + round(noted) + size + 3 * margin
    height = max(picture.height, 2 * margin + min(len(legend), _LINES) * line)
    lines = max(1, (height - 2 * margin) // line)
    shown = list(legend) if len(legend) <= lines else list(legend[: lines - 1])
    canvas = Image.new("RGB", (picture.width + width, height), PAPER)
    canvas.paste(picture)
    draw = ImageDraw.Draw(canvas)
    left, y = picture.width + margin, margin
    for text, note, colour in shown:
        draw.rectangle((left, y, left + size, y + size), fill=colour, outline=MUTED)
        place = (left + size + margin // 2, y + size / 2)
        draw.text(place, clip_middle(text, room, size), fill=INK, font=font(size), anchor="lm")
        draw.text((canvas.width - margin, y + size / 2), note, fill=MUTED, font=font(size), anchor="rm")
        y += line
    if len(shown) < len(legend):
        draw.text(
            (left, y + size / 2), f"and {len(legend) - len(shown)} more", fill=MUTED, font=font(size), anchor="lm"
        )
    return canvas
