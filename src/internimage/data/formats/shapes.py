"""What labelling tools draw, as boxes, polygons and run lengths; everything else is refused entry by entry."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Sequence
from math import cos, isfinite, pi, sin
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from internimage.data.objects import ObjectAnnotation, bitmap

Box = tuple[float, float, float, float]
Outline: TypeAlias = "list[array[float]]"
Segmentation: TypeAlias = "Outline | dict[str, Any]"

FAR = 1e5
"""Pixels from the picture that are believed; drawing a polygon takes memory for every pixel of its outline."""

_CORNERS = 64  # of a circle's polygon; a multiple of four, so that it has the circle's bounds


class BadEntryError(Exception):
    """What is wrong with one entry: its value and what was expected."""


def number(value: Any, what: str) -> float:
    """A number that is written as one, or as text.

    Raises:
        BadEntryError: it is none, infinite or far away.
    """
    try:
        found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else float("nan")
    except ValueError:
        found = float("nan")
    if not isfinite(found) or abs(found) > FAR:
        raise BadEntryError(f"{what} is {short(value)}; expected a number of pixels")
    return found


def whole(value: Any, what: str, least: int = 0) -> int:
    """A whole number from ``least`` on, written as one, or as text."""
    found = number(value, what)
    if not found.is_integer() or found < least:
        raise BadEntryError(f"{what} is {short(value)}; expected a whole number from {least} on")
    return int(found)


def corners(points: Sequence[Sequence[float]]) -> Box:
    """The box between two opposite corners, whichever they are."""
    (x1, y1), (x2, y2) = points
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def points_of(values: Any, what: str = "points", least: int = 1) -> list[tuple[float, float]]:
    """Points from a list of pairs.

    Raises:
        BadEntryError: they are none, or fewer than ``least``.
    """
    if not isinstance(values, list) or not all(isinstance(one, list | tuple) and len(one) == 2 for one in values):
        raise BadEntryError(f"{what} are {short(values)}; expected pairs of numbers")
    if len(values) < least:
        raise BadEntryError(f"{what} are {short(values)}; expected {least} or more")
    return [(number(x, what), number(y, what)) for x, y in values]


def polygon(points: Iterable[tuple[float, float]]) -> array[float]:
    """Points as a packed polygon.

    Raises:
        BadEntryError: they are fewer than three.
    """
    packed = array("d", [edge for point in points for edge in point])
    if len(packed) < 6:
        raise BadEntryError(f"a polygon of {len(packed) // 2} points; expected 3 or more")
    return packed


def ellipse(x: float, y: float, across: float, down: float, turn: float = 0.0) -> array[float]:
    """A polygon around (x, y) with two radii, turned clockwise by ``turn`` (radians)."""
    if min(across, down) <= 0:
        raise BadEntryError(f"radii of {across:g} and {down:g}; expected more than 0")
    found = array("d")
    for corner in range(_CORNERS):
        u, v = across * cos(2 * pi * corner / _CORNERS), down * sin(2 * pi * corner / _CORNERS)
        found.extend((x + u * cos(turn) - v * sin(turn), y + u * sin(turn) + v * cos(turn)))
    return found


def turned_box(box: Box, degrees: float, about: tuple[float, float]) -> array[float]:
    """The corners of a box, turned clockwise about a point."""
    turn = degrees * pi / 180
    found = array("d")
    x1, y1, x2, y2 = box
    for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2)):
        u, v = x - about[0], y - about[1]
        found.extend((about[0] + u * cos(turn) - v * sin(turn), about[1] + u * sin(turn) + v * cos(turn)))
    return found


def outline_bounds(outline: Outline) -> Box:
    """x1, y1, x2, y2 around polygons."""
    x = [edge for one in outline for edge in one[::2]]
    y = [edge for one in outline for edge in one[1::2]]
    return min(x), min(y), max(x), max(y)


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask (H, W) as COCO's run lengths, down the columns, zeros first."""
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate(([0], edges, [flat.size]))
    counts = np.diff(starts).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat.size and flat[0] else counts}


def pasted(patch: NDArray[np.bool_], left: int, top: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask of ``size`` (height, width) with a patch at a place; what lies outside is cut off."""
    mask = np.zeros(size, bool)
    x, y = max(0, left), max(0, top)
    inner = patch[y - top : max(0, size[0] - top), x - left : max(0, size[1] - left)]
    mask[y : y + inner.shape[0], x : x + inner.shape[1]] = inner
    return mask


def with_holes(outer: Outline, holes: Outline, size: tuple[int, int]) -> Segmentation:
    """Polygons without what lies in others: run lengths if there are holes."""
    if not holes:
        return outer
    mask = bitmap(ObjectAnnotation((0, 0, 0, 0), 0, outer, False, 0), size)
    mask &= ~bitmap(ObjectAnnotation((0, 0, 0, 0), 0, holes, False, 0), size)
    return run_lengths(mask)


def short(value: Any) -> str:
    """A value as JSON, cut where it is long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
