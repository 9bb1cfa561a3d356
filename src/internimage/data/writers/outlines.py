"""Masks as polygons, along the edges of their pixels: for formats that know no masks."""

from __future__ import annotations

from array import array
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from internimage.data.objects import ObjectAnnotation, bitmap

Point = tuple[int, int]


def outlines_of(annotation: ObjectAnnotation, size: tuple[int, int]) -> tuple[list[array[float]], int]:
    """The polygons of an object, and how many holes they fill; none of an object that has only a box."""
    if annotation.segmentation is None or annotation.outlined:
        return [], 0
    if isinstance(annotation.segmentation, list):
        return annotation.segmentation, 0
    rings = traced(bitmap(annotation, size))
    outer = [ring for ring in rings if _area(ring) > 0]
    return [array("d", [edge for point in ring for edge in point]) for ring in outer], len(rings) - len(outer)


def traced(mask: NDArray[np.bool_]) -> list[list[Point]]:
    """Rings of corners (x, y) around the pixels of a mask: clockwise on the picture around areas, the other way holes.

    Each edge between a pixel of the mask and one outside is a step that has the mask to its right.  Where two areas
    touch at a corner, they stay apart.
    """
    padded = np.pad(mask, 1)
    steps: dict[Point, list[Point]] = defaultdict(list)
    for (down, across), inside_first in _edges(padded):
        for y, x in zip(down.tolist(), across.tolist(), strict=True):
            start, end = inside_first(x, y)
            steps[start].append(end)
    rings = []
    while steps:
        start = next(iter(steps))
        ring, before = [start], start
        point = _next(steps, start, None)
        while point != start:
            ring.append(point)
            following = _next(steps, point, before)
            before, point = point, following
        rings.append(_without_straight(ring))
    return rings


def _edges(padded: NDArray[np.bool_]) -> Any:
    """Places of the four kinds of edges, and the step along each."""
    middle = padded[1:-1, 1:-1]
    return (
        (np.nonzero(middle & ~padded[:-2, 1:-1]), lambda x, y: ((x, y), (x + 1, y))),  # above: to the right
        (np.nonzero(middle & ~padded[1:-1, 2:]), lambda x, y: ((x + 1, y), (x + 1, y + 1))),  # right: down
        (np.nonzero(middle & ~padded[2:, 1:-1]), lambda x, y: ((x + 1, y + 1), (x, y + 1))),  # below: to the left
        (np.nonzero(middle & ~padded[1:-1, :-2]), lambda x, y: ((x, y + 1), (x, y))),  # left: up
    )


def _next(steps: dict[Point, list[Point]], point: Point, before: Point | None) -> Point:
    """Where a ring goes on; of two ways the one that turns right, which stays with the same area."""
    ways = steps[point]
    chosen = ways[0]
    if len(ways) > 1 and before is not None:
        along = (point[0] - before[0], point[1] - before[1])
        right = (point[0] - along[1], point[1] + along[0])
        chosen = right if right in ways else chosen
    ways.remove(chosen)
    if not ways:
        del steps[point]
    return chosen


def _without_straight(ring: list[Point]) -> list[Point]:
    """The corners of a ring, without the points on its straight sides."""
    return [
        point
        for before, point, after in zip([ring[-1], *ring], ring, [*ring[1:], ring[0]], strict=False)
        if (point[0] - before[0]) * (after[1] - point[1]) != (point[1] - before[1]) * (after[0] - point[0])
    ]


def _area(ring: list[Point]) -> float:
    """Positive around areas, negative around holes."""
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)) / 2
