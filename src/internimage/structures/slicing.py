"""Slices of a large picture, and their detections united."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import numpy as np

from internimage.structures.boxes import Found, areas
from internimage.structures.merging import Merged

SliceOverlap = Literal["iou", "ios"]
Array: TypeAlias = "np.ndarray[Any, Any]"

_PAIRS = 1 << 20  # pairs of boxes that are compared at a time: some 100 MB
_LEAST_SHARE = 0.5  # of the best score that another part of an object has


def slices(size: tuple[int, int], window: tuple[int, int], overlap: tuple[float, float]) -> Array:
    """Windows that cover a picture, row by row; those that would stick out are moved back inside.

    Args:
        size: (height, width) of the picture.
        window: (height, width) of a window; less where the picture is smaller.
        overlap: share of a window's height and of its width that the next one repeats, less than 1.

    Returns:
        (N, 4) int, x1, y1, x2, y2 in pixels.
    """
    rows, columns = (_spans(*axis) for axis in zip(size, window, overlap, strict=True))
    return np.array([(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns])


def _spans(length: int, side: int, overlap: float) -> list[tuple[int, int]]:
    """First and last edges of the windows along one side."""
    step = side - int(overlap * side)
    number = max(0, -(-(length - side) // step)) + 1
    ends = [min(length, place * step + side) for place in range(number)]
    return [(max(0, end - side), end) for end in ends]


def merge_slices(found: Found, measure: SliceOverlap = "ios", overlap: float = 0.5, per_class: bool = True) -> Merged:
    """Unite detections of one picture that slices cut or repeated, in the picture's coordinates.

    From the highest score on, a box takes all that are left and overlap it enough.  They are united with it in the same
    order as long as each overlaps enough what it has grown to; those that do not are lost.

    Args:
        found: detections of all slices.
        measure: "iou", or "ios", the intersection divided by the smaller area.
        overlap: how much is enough, more than 0.
        per_class: whether only boxes of one class are united; else the class is the best one's, the last of equals.

    Returns:
        Detections, each with the score of the best one in it, and those that it was united from.
    """
    share = _intersection_over_union if measure == "iou" else _intersection_over_smaller
    pool = _Pool(found)
    labels, scores, boxes = pool.labels, pool.scores, pool.boxes

    def alike(some: Array, others: Array) -> Array:
        same = labels[some] == labels[others] if per_class else True
        return same & (share(boxes[some], boxes[others]) >= overlap)

    pool.compare(alike)
    for place, members in pool:
        for other in pool.take(place).tolist():
            if share(boxes[place], boxes[other]) >= overlap:
                pool.grow(place, other)
                labels[place] = labels[other if scores[other] == scores[place] else place]
                members.append(other)
    return pool.merged()


def merge_cut(found: Found, cut: Array, overlap: float = 0.5) -> Merged:
    """Reduce detections of one picture that slices repeated, and unite those that slices cut, within each class.

    Neighbours are kept apart that :func:`merge_slices` unites because one is small or their boxes are inaccurate: from
    the highest score on, a box takes all that are left and overlap it enough, by intersection over union or, if a seam
    cuts one of the two, over the smaller area.  A box that is not cut stays as it is, as in NMS.  One that is cut is
    united with those of at least half its score that overlap enough what it has grown to, and then with others that
    are cut and overlap one of these, until one is not cut.

    Args:
        found: detections of all slices.
        cut: (K,) bool, whether a seam cuts them: their boxes reach an edge of the slice inside the picture.
        overlap: how much is enough, more than 0.

    Returns:
        Detections, each with the score of the best one in it, and those that it was united from.
    """
    pool = _Pool(found)
    labels, scores, boxes, cut = pool.labels, pool.scores, pool.boxes, cut[pool.order]

    def alike(some: Array, others: Array) -> Array:
        shares = np.where(
            cut[some] | cut[others],
            _intersection_over_smaller(boxes[some], boxes[others]),
            _intersection_over_union(boxes[some], boxes[others]),
        )
        return (labels[some] == labels[others]) & (shares >= overlap)

    pool.compare(alike)
    for place, members in pool:

        def is_part(some: Array, place: int = place) -> Array:
            near = _intersection_over_smaller(boxes[place], boxes[some]) >= overlap
            return near & (scores[some] >= _LEAST_SHARE * scores[place])

        taken = pool.take(place).tolist()
        for other in taken if cut[place] else ():
            if is_part(other):
                pool.grow(place, other)
                members.append(other)
                taken += pool.take(other, lambda some: is_part(some) & cut[some]).tolist()
                if not cut[other]:
                    break
    return pool.merged()


class _Pool:
    """Detections, best first, which take others; of equal scores the one further left and up comes first."""

    def __init__(self, found: Found) -> None:
        self.order = np.lexsort((*found.boxes.T[::-1], -found.scores))
        self.labels, self.scores = found.labels[self.order], found.scores[self.order]
        self.boxes = found.boxes[self.order].astype(np.float64)
        self._left = np.ones(len(self.order), bool)
        self._members: dict[int, list[int]] = {}

    def compare(self, alike: Callable[[Array, Array], Array]) -> None:
        """Which boxes may take which, as they are now, see :func:`_pairs`."""
        self._starts, self._partners = _pairs(self.boxes, alike)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        """Places that nobody has taken, and what each is made of: itself at first."""
        for place in range(len(self.order)):
            if self._left[place]:
                self._left[place] = False
                self._members[place] = [place]
                yield place, self._members[place]

    def take(self, place: int, where: Callable[[Array], Array] | None = None) -> Array:
        """What is left of the partners of a box, or of those that fit; nobody else gets them."""
        partners = self._partners[self._starts[place] : self._starts[place + 1]]
        partners = partners[self._left[partners]]
        if where is not None:
            partners = partners[where(partners)]
        self._left[partners] = False
        return partners

    def grow(self, place: int, other: int) -> None:
        """Make a box as large as spans the other, too."""
        self.boxes[place, :2] = np.minimum(self.boxes[place, :2], self.boxes[other, :2])
        self.boxes[place, 2:] = np.maximum(self.boxes[place, 2:], self.boxes[other, 2:])

    def merged(self) -> Merged:
        """Those that nobody has taken."""
        kept, members = list(self._members), tuple(self.order[own] for own in self._members.values())
        return Merged(self.labels[kept], self.scores[kept], self.boxes[kept], members)


def _pairs(boxes: Array, alike: Callable[[Array, Array], Array]) -> tuple[Array, Array]:
    """Boxes (K, 4) that intersect and are alike: where the partners of each begin, (K + 1,), and they, in order.

    Boxes are compared with those that begin before they end, so that those of a large picture take time about by how
    many lie above and below each other.
    """
    order = np.argsort(boxes[:, 0], kind="stable")
    own = np.arange(len(order))
    counts = np.maximum(np.searchsorted(boxes[order, 0], boxes[order, 2]) - own - 1, 0)
    ends = np.cumsum(counts)
    found = [np.zeros((2, 0), int)]
    first = 0
    while first < len(order):
        before = ends[first] - counts[first]
        last = max(first + 1, int(np.searchsorted(ends, before + _PAIRS, "right")))
        some = np.repeat(own[first:last], counts[first:last])
        others = some + 1 + np.arange(len(some)) - (ends - counts - before)[some]
        pairs = np.stack([order[some], order[others]])
        found.append(pairs[:, alike(*pairs)])
        first = last
    one, other = np.concatenate([*found, *(pairs[::-1] for pairs in found)], axis=1)
    sorting = np.lexsort((other, one))
    return np.searchsorted(one[sorting], np.arange(len(order) + 1)), other[sorting]


def _intersections(boxes: Array, others: Array) -> Array:
    """Areas (...) of what boxes (..., 4) share with others, one by one."""
    corner, end = np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:])
    return np.maximum(end - corner, 0).prod(-1)


def _intersection_over_union(boxes: Array, others: Array) -> Array:
    common = _intersections(boxes, others)
    return _ratio(common, areas(boxes) + areas(others) - common)


def _intersection_over_smaller(boxes: Array, others: Array) -> Array:
    return _ratio(_intersections(boxes, others), np.minimum(areas(boxes), areas(others)))


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
