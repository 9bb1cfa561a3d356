"""Objects on a picture: outlines, masks, labels."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from internimage.drawing.canvas import Colour, font

_GOLDEN = 0.618033988749895
_MASK_SHARE = 0.45
_FEW = 15
_THIN = 20  # the usual object's shorter side is so many times as long as the unit of lines, which would hide it


@dataclass(frozen=True)
class Object:
    """What is drawn of one object: a box (x1, y1, x2, y2) in pixels, a text, a colour, and the pixels that it covers.

    ``mask`` is (h, w) bool, whose first pixel lies at ``corner`` (left, top) of the picture; or None.
    """

    box: tuple[float, float, float, float]
    text: str
    colour: Colour
    mask: np.ndarray[Any, Any] | None = None
    corner: tuple[int, int] = (0, 0)


def class_colour(index: int) -> Colour:
    """A colour of its own for each class, the same in every picture; neighbouring numbers differ most."""
    hue = (0.58 + index * _GOLDEN) % 1.0
    lightness = (0.48, 0.62, 0.38)[index // 12 % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_objects(image: Image.Image, objects: Iterable[Object]) -> Image.Image:
    """The picture with ``objects``, later ones on top; lines and letters grow with picture and objects.

    Among many objects, a text that is wider than its box would hide others and is left out.
    Masks are used one at a time, so an iterable that makes them on demand needs memory for one.
    """
    canvas = np.array(image)
    outlines: list[Object] = []
    for one in objects:
        if one.mask is not None:
            (left, top), (height, width) = one.corner, one.mask.shape
            part = canvas[top : top + height, left : left + width]
            blended = (1 - _MASK_SHARE) * part[one.mask] + _MASK_SHARE * np.array(one.colour, np.float32)
            part[one.mask] = np.round(blended)
        outlines.append(Object(one.box, one.text, one.colour))
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    sides = [min(one.box[2] - one.box[0], one.box[3] - one.box[1]) for one in outlines]
    unit = max(1.0, min(min(image.size) / 500, float(np.median(sides or [0])) / _THIN))
    width, size = max(1, round(1.6 * unit)), max(10, round(13 * unit))
    for one in outlines:
        draw.rectangle(one.box, outline=one.colour, width=width)
    for one in outlines:
        if len(outlines) <= _FEW or font(size).getlength(one.text) <= one.box[2] - one.box[0]:
            _label(draw, one, size, picture.size)
    return picture


def _label(draw: ImageDraw.ImageDraw, one: Object, size: int, picture: tuple[int, int]) -> None:
    """The text on a plate of the object's colour: above the box, or inside where there is no room; never outside."""
    if not one.text:
        return
    face, pad = font(size), max(1, size // 5)
    left, top, right, bottom = draw.textbbox((0, 0), one.text, font=face)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0.0, min(one.box[0], picture[0] - width))
    y = one.box[1] - height if one.box[1] >= height else one.box[1]
    y = max(0.0, min(y, picture[1] - height))
    draw.rectangle((x, y, x + width, y + height), fill=one.colour)
    red, green, blue = one.colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    draw.text((x + pad - left, y + pad - top), one.text, fill=(20, 20, 20) if bright else (255, 255, 255), font=face)
