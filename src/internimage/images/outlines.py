"""Outlines of a mask as polygons along the edges of its pixels, and many polygons as one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Ring: TypeAlias = "np.ndarray[Any, Any]"  # (P, 2), x and y of corners, of masks int64 corners of pixels, not closed

_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up
_CLOSE, _NEAR = 0.36, 0.48  # pixels from the middle of an edge that lines may pass
_LARGE = 2_500  # pixels of a ring of which a few at the edge are less than a hundredth


class Part(NamedTuple):
    """Pixels that hang together by their edges: the ring around them, clockwise, and those around its holes."""

    outline: Ring
    holes: tuple[Ring, ...] = ()


def outlines(mask: np.ndarray[Any, Any]) -> list[Part]:
    """The parts of a mask (H, W) bool, from top to bottom; pixels that touch at a corner alone are two parts."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])  # a small object in a large picture is walked around in its box
    outer: list[Ring] = []
    inner: list[Ring] = []
    for ring in _rings(mask[top : rows[-1] + 1, left : columns[-1] + 1]):
        ring += (left, top)
        (outer if ring_area(ring) > 0 else inner).append(ring)
    holes: list[list[Ring]] = [[] for _ in outer]
    for hole in inner:
        # a hole is walked around with the mask at the right: below its first edge, which goes right, is the mask
        x, y = hole[0] + 0.5
        around = [number for number, ring in enumerate(outer) if _inside(ring, x, y)]
        holes[min(around, key=lambda number: ring_area(outer[number]))].append(hole)
    return [Part(ring, tuple(own)) for ring, own in zip(outer, holes, strict=True)]


def joined(rings: Sequence[Ring]) -> Ring:
    """One polygon that covers what the rings cover: bridges without width lead to each ring and back.

    For formats that know neither holes nor objects of several parts.
    """
    whole = rings[0]
    for ring in rings[1:]:
        distance = np.abs(whole[:, None] - ring[None]).sum(-1)
        here, there = divmod(int(distance.argmin()), len(ring))
        turned = np.roll(ring, -there, 0)
        whole = np.concatenate([whole[: here + 1], turned, turned[:1], whole[here:]])
    return whole


def _rings(mask: np.ndarray[Any, Any]) -> list[Ring]:
    """Closed walks along the edges of the mask, which is always at the right; each starts with a step to the right."""
    padded: np.ndarray[Any, Any] = np.pad(mask.astype(bool), 1)
    here, above, left, both = padded[1:, 1:], padded[:-1, 1:], padded[1:, :-1], padded[:-1, :-1]
    leaving = np.zeros(here.shape, np.uint8)  # of each corner, a bit for each of the steps that lead along an edge
    for bit, (inside, outside) in enumerate(((here, above), (left, here), (both, left), (above, both))):
        leaving |= (inside & ~outside).astype(np.uint8) << bit
    starts = np.argwhere(leaving & 1).tolist()
    width = mask.shape[1] + 1
    bits, steps = bytearray(leaving.tobytes()), [x + y * width for x, y in _STEPS]
    rings = []
    for y, x in starts:
        place, step = y * width + x, 0
        if not bits[place] & 1:
            continue  # walked along already
        corners = []
        last = None
        while bits[place] & 1 << step:
            bits[place] &= ~(1 << step)
            if step != last:
                corners.append((place % width, place // width))
            last = step
            place += steps[step]
            # sharply right first, so that pixels which touch at a corner stay apart
            step = next((turn % 4 for turn in (step + 1, step, step + 3) if bits[place] & 1 << turn % 4), 0)
        rings.append(np.array(corners, np.int64))
    return rings


def ring_area(ring: Ring) -> float:
    """Positive if it is walked clockwise, as it looks on a picture."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _inside(ring: Ring, x: float, y: float) -> bool:
    """Whether a point is inside, by the edges at the right of it."""
    from_x, from_y = ring.T
    return bool(
        (((from_y > y) != (np.roll(from_y, -1) > y)) & (from_x > x)).sum() % 2
    )  # edges that cross its height are vertical


def simplified(ring: Ring) -> Ring:
    """The ring of a mask with a half to a quarter of its corners, around the same pixels' centres.

    An edge of a pixel lies between a centre that is inside and one that is not: lines that pass all edges less than
    half a pixel from their middles part the same centres.  From each corner the line goes on as far as it can; corners
    between sides of several pixels stay.  Small rings are passed so closely that pycocotools fills the same pixels.

    Args:
        ring: (P, 2) int64.

    Returns:
        (Q, 2) float64, whole and half pixels, at least three corners.
    """
    steps = np.roll(ring, -1, 0) - ring
    lengths = np.abs(steps).sum(1)
    starts = lengths.cumsum() - lengths  # of each side, among the edges
    unit = np.repeat(np.sign(steps), lengths, 0)
    along = np.arange(len(unit)) - np.repeat(starts, lengths) + 0.5
    middles = np.repeat(ring, lengths, 0) + along[:, None] * unit
    aside = unit[:, ::-1] * (-1, 1) * (_CLOSE if abs(ring_area(ring)) < _LARGE else _NEAR)
    gates = np.concatenate([middles - aside, middles + aside], 1).tolist()
    places = middles.tolist()
    kept = (lengths > 1) & (np.roll(lengths, 1) > 1)
    corners = dict(zip(starts[kept].tolist(), ring[kept].tolist(), strict=True))
    first = next(iter(corners), int(starts[lengths.argmax()]))
    begins = [*corners, len(places) + first] if corners else [first, len(places) + first]
    found: list[Sequence[float]] = []
    for begin, end in itertools.pairwise(begins):
        edges = [number % len(places) for number in range(begin, end)]
        last = corners.get(end % len(places), places[first])
        found += _straightened(
            [corners.get(begin, places[begin]), *(places[one] for one in edges[not corners :]), last],
            [gates[one] for one in edges[not corners :]],
        )
    return np.array(found) if len(found) > 2 else ring.astype(float)


def _straightened(points: Sequence[Sequence[float]], gates: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """Few of the points in order, the last one left out: lines between them pass all gates on the way.

    Args:
        points: one more than gates at either end.
        gates: x, y, x, y of two ends, the first at the left of the way as it looks on a picture.
    """
    found, at = [points[0]], 0
    while True:
        x, y = points[at]
        best, (ax, ay, bx, by) = at + 1, _minus(gates[at], x, y) if at < len(gates) else (0.0, 0.0, 0.0, 0.0)
        for number in range(at + 1, len(points)):
            to_x, to_y = points[number][0] - x, points[number][1] - y
            if ax * to_y - ay * to_x >= 0 and to_x * by - to_y * bx >= 0:
                best = number
            if number >= len(gates):
                continue
            left_x, left_y, right_x, right_y = _minus(gates[number], x, y)
            if ax * left_y - ay * left_x > 0:
                ax, ay = left_x, left_y
            if right_x * by - right_y * bx > 0:
                bx, by = right_x, right_y
            if ax * by - ay * bx < 0:  # no line passes all of them
                break
        if best == len(points) - 1:
            return found
        found.append(points[best])
        at = best


def _minus(gate: Sequence[float], x: float, y: float) -> tuple[float, float, float, float]:
    return gate[0] - x, gate[1] - y, gate[2] - x, gate[3] - y
