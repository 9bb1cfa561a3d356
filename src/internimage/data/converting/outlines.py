"""Masks as polygons, along the edges of their pixels: for formats that know no masks."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from internimage.data.objects import ObjectAnnotation, bitmap

Point = tuple[int, int]
Place = tuple[float, float]


def outline_of(annotation: ObjectAnnotation, size: tuple[int, int]) -> array[float] | None:
    """One polygon around an object in a picture of ``size`` (height, width); None if it has only a box.

    Parts and holes are joined by bridges without width, there and back, so that the area is that of the mask.
    """
    if annotation.segmentation is None or annotation.outlined:
        return None
    if isinstance(annotation.segmentation, list):
        given = [list(zip(one[::2], one[1::2], strict=True)) for one in annotation.segmentation]
        return _packed(joined([ring if _area(ring) >= 0 else ring[::-1] for ring in given]))
    mask = bitmap(annotation, size)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    left, top = int(columns[0]), int(rows[0])
    whole = joined(traced(mask[top : rows[-1] + 1, left : columns[-1] + 1]))
    return _packed([(x + left, y + top) for x, y in whole])


def joined(rings: Sequence[Sequence[Place]]) -> list[Place]:
    """Rings as one, each joined to those before it where they are nearest."""
    whole = list(rings[0])
    for ring in rings[1:]:
        there, here = np.array(whole, float), np.array(ring, float)
        distances = ((there[:, None] - here[None]) ** 2).sum(2)
        place, first = (int(one) for one in np.unravel_index(distances.argmin(), distances.shape))
        whole = [*whole[: place + 1], *ring[first:], *ring[: first + 1], *whole[place:]]
    return whole


def _packed(points: Sequence[Place]) -> array[float]:
    return array("d", [edge for point in points for edge in point])


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


def _area(ring: Sequence[Place]) -> float:
    """Positive around areas, negative around holes."""
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)) / 2
