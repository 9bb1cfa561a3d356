"""YOLO's turned boxes (OBB) told from its polygons: both are corners, and four of them may be either."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from internimage.errors import DataError

_CORNERS = 9  # numbers of a line: the class and four points
_TILT = np.sin(np.radians(1.0))  # of an angle or a side, which is right or upright within it
_ROUNDING = 1.0  # pixels that a corner may be off
_LARGE = 8.0  # pixels of a side from which rounding hides nothing
_FEW = 0.05  # share of turned rectangles that outlines may be by chance


def refuse_turned_boxes(name: str, lines: Sequence[tuple[Sequence[str], tuple[int, int] | None]]) -> None:
    """Refuse objects with four corners each that are turned rectangles.

    Upright rectangles and other shapes are outlines: turned boxes have right angles, and an upright box is the same in
    either format.

    Args:
        name: of the data, for the message.
        lines: words of each line, and the (height, width) of its picture where that is known.

    Raises:
        DataError: more of them are turned rectangles than are no rectangles.
    """
    if {len(words) for words, _ in lines} != {_CORNERS}:
        return
    try:
        shapes = [(list(map(float, words[1:])), size) for words, size in lines if size is not None]
    except ValueError:
        return  # reading the lines says so
    if not shapes:
        return
    points = np.array([shares for shares, _ in shapes]).reshape(-1, 4, 2)
    square, turned = _looks(points * np.array([size[::-1] for _, size in shapes])[:, None])
    if turned.sum() > max((~square).sum(), _FEW * len(turned)):
        raise DataError(
            f"{name}: every object has 4 corners, and {int(turned.sum())} of {len(turned)} are turned rectangles "
            "(YOLO-OBB), which are not read; export upright boxes or polygons. If they are outlines, say so by "
            "repeating the first corner at the end of each line"
        )


def _looks(points: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of (N, 4, 2) corners in pixels are rectangles, and which of those are turned; of large ones, if any are."""
    sides = np.roll(points, -1, 1) - points
    lengths = np.hypot(sides[..., 0], sides[..., 1])
    large = lengths.min(1) >= _LARGE
    if large.any():
        sides, lengths = sides[large], lengths[large]
    shorter = np.minimum(lengths, np.roll(lengths, -1, 1)).clip(1e-9)
    cosine = np.abs((sides * np.roll(sides, -1, 1)).sum(-1)) / (lengths * np.roll(lengths, -1, 1)).clip(1e-9)
    square = (cosine <= _TILT + _ROUNDING / shorter).all(1)
    turned = (np.abs(sides).min(-1) > np.maximum(_TILT * lengths, _ROUNDING)).any(1)
    return square, square & turned
