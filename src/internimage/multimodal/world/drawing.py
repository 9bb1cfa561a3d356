"""From shapes to pixels: each drawn at four times the size by Pillow, then reduced; integers alone.

Places are in quarters of a pixel of a picture of 64 pixels; others are scaled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from internimage.multimodal.world.words import COLOURS, LIGHTS, Colour

Pixels = np.ndarray[Any, np.dtype[np.int32]]
Coverage = np.ndarray[Any, np.dtype[np.uint8]]

SIDE = 256
"""Of a picture in the units of places."""
_FINE = 4
_UNIT = SIDE // _FINE  # pixels of a picture that is drawn without scaling
_NOISE = 8
_HALF = 128  # coverage from which a pixel belongs to what was drawn
_STAR = (  # thousandths of the radius
    *((0, -1120), (259, -356), (1065, -346), (419, 136), (658, 906)),
    *((0, 440), (-658, 906), (-419, 136), (-1065, -346), (-259, -356)),
)
_TRIANGLE = ((0, -1080), (1060, 840), (-1060, 840))
_DARK: Colour = (52, 54, 58)
_OFF: Colour = (92, 94, 98)
_PLATE: Colour = (252, 252, 250)

_DOTS = 8  # units that a dot of a letter measures
_GLYPHS = {  # five dots by seven, a row each, the leftmost dot is 16
    "a": (14, 17, 17, 31, 17, 17, 17),
    "b": (30, 17, 17, 30, 17, 17, 30),
    "c": (14, 17, 16, 16, 16, 17, 14),
    "d": (30, 17, 17, 17, 17, 17, 30),
    "e": (31, 16, 16, 30, 16, 16, 31),
    "f": (31, 16, 16, 30, 16, 16, 16),
    "g": (14, 17, 16, 23, 17, 17, 14),
    "h": (17, 17, 17, 31, 17, 17, 17),
    "i": (14, 4, 4, 4, 4, 4, 14),
    "j": (7, 2, 2, 2, 2, 18, 12),
    "k": (17, 18, 20, 24, 20, 18, 17),
    "l": (16, 16, 16, 16, 16, 16, 31),
    "m": (17, 27, 21, 21, 17, 17, 17),
    "n": (17, 25, 25, 21, 19, 19, 17),
    "o": (14, 17, 17, 17, 17, 17, 14),
    "p": (30, 17, 17, 30, 16, 16, 16),
    "q": (14, 17, 17, 17, 21, 18, 13),
    "r": (30, 17, 17, 30, 20, 18, 17),
    "s": (15, 16, 16, 14, 1, 1, 30),
    "t": (31, 4, 4, 4, 4, 4, 4),
    "u": (17, 17, 17, 17, 17, 17, 14),
    "v": (17, 17, 17, 17, 17, 10, 4),
    "w": (17, 17, 17, 21, 21, 27, 17),
    "x": (17, 17, 10, 4, 10, 17, 17),
    "y": (17, 17, 10, 4, 4, 4, 4),
    "z": (31, 1, 2, 4, 8, 16, 31),
}
_BORDER = 16  # units from the letters of a sign to its edge; half of it is the frame
LIGHT_HALF = (36, 96)
"""Half the width and height of a traffic light."""


def sign_half(word: str) -> tuple[int, int]:
    """Half the width and height of a sign."""
    return (6 * len(word) - 1) * _DOTS // 2 + _BORDER, 7 * _DOTS // 2 + _BORDER


class Canvas:
    """A picture that is being drawn.

    Args:
        size: side in pixels, a multiple of 8.
        background: of all pixels before anything is drawn.
    """

    def __init__(self, size: int, background: Colour) -> None:
        self._size = size
        self._pixels: Pixels = np.empty((size, size, 3), np.int32)
        self._pixels[:] = background

    def shape(self, shape: str, colour: str, x: int, y: int, radius: int) -> Coverage:
        """Draw one of the shapes around (x, y); how far each pixel is covered, (H, W) 0 to 255."""

        def draw(pen: ImageDraw.ImageDraw) -> None:
            if shape in ("circle", "ring"):
                self._disc(pen, x, y, radius)
                if shape == "ring":
                    self._disc(pen, x, y, radius * 11 // 20, 0)
            elif shape == "square":
                self._rectangle(pen, x, y, radius * 17 // 20, radius * 17 // 20)
            elif shape == "cross":
                self._rectangle(pen, x, y, radius, radius * 3 // 10)
                self._rectangle(pen, x, y, radius * 3 // 10, radius)
            else:
                corners = _STAR if shape == "star" else _TRIANGLE
                pen.polygon(
                    [(self._at(x + radius * a // 1000), self._at(y + radius * b // 1000)) for a, b in corners], 255
                )

        return self._lay(draw, COLOURS[colour])

    def light(self, x: int, y: int, lit: str) -> None:
        """Draw a traffic light around (x, y)."""
        self._lay(lambda pen: self._rectangle(pen, x, y, *LIGHT_HALF), _DARK)
        for number, lamp in enumerate(LIGHTS):
            draw = partial(self._disc, x=x, y=y + 60 * (number - 1), radius=22)
            self._lay(draw, COLOURS[lamp] if lamp == lit else _OFF)

    def sign(self, x: int, y: int, word: str) -> None:
        """Draw a framed word around (x, y)."""
        width, height = sign_half(word)
        inner = width - _BORDER // 2, height - _BORDER // 2
        self._lay(lambda pen: self._rectangle(pen, x, y, width, height), _DARK)
        self._lay(lambda pen: self._rectangle(pen, x, y, *inner), _PLATE)
        left, top = x - width + _BORDER, y - height + _BORDER

        def letters(pen: ImageDraw.ImageDraw) -> None:
            for number, letter in enumerate(word):
                for row, dots in enumerate(_GLYPHS[letter]):
                    for column in range(5):
                        if dots & (16 >> column):
                            self._dot(pen, left + (6 * number + column) * _DOTS, top + row * _DOTS)

        self._lay(letters, _DARK)

    def finished(self, random: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The picture with noise, (H, W, 3) RGB."""
        noise = random.integers(-_NOISE, _NOISE + 1, self._pixels.shape, np.int32)
        return np.clip(self._pixels + noise, 0, 255).astype(np.uint8)

    def _at(self, place: int) -> int:
        return place * self._size // _UNIT

    def _lay(self, draw: Callable[[ImageDraw.ImageDraw], None], colour: Colour) -> Coverage:
        layer = Image.new("L", (self._size * _FINE, self._size * _FINE))
        draw(ImageDraw.Draw(layer))
        coverage = np.asarray(layer.reduce(_FINE))
        share = coverage.astype(np.int32)[..., None]
        self._pixels += ((np.array(colour, np.int32) - self._pixels) * share + 127) // 255
        return coverage

    def _disc(self, pen: ImageDraw.ImageDraw, x: int, y: int, radius: int, fill: int = 255) -> None:
        pen.ellipse([self._at(x - radius), self._at(y - radius), self._at(x + radius), self._at(y + radius)], fill)

    def _rectangle(self, pen: ImageDraw.ImageDraw, x: int, y: int, across: int, down: int) -> None:
        pen.rectangle([self._at(x - across), self._at(y - down), self._at(x + across) - 1, self._at(y + down) - 1], 255)

    def _dot(self, pen: ImageDraw.ImageDraw, left: int, top: int) -> None:
        pen.rectangle([self._at(left), self._at(top), self._at(left + _DOTS) - 1, self._at(top + _DOTS) - 1], 255)


def mask_and_box(coverage: Coverage) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], tuple[int, int, int, int]]:
    """The pixels that are covered by half or more, (H, W), and their extent: x1, y1, x2, y2, the last ones outside."""
    mask = coverage >= _HALF
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask, (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
