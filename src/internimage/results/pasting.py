"""Masks within boxes as pixels of the image, in NumPy: results know no torch."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, floor
from typing import Any, NamedTuple

import numpy as np

from internimage.images.outlines import Part, outlines


class ObjectMask(NamedTuple):
    """The pixels of an object as far as its box reaches: those of small objects in large pictures take little memory.

    Attributes:
        bitmap: (h, w) bool.
        top, left: where it lies in the picture; beyond it there is nothing of the object.
        size: (height, width) of the picture.
    """

    bitmap: np.ndarray[Any, Any]
    top: int
    left: int
    size: tuple[int, int]

    @classmethod
    def of(cls, mask: np.ndarray[Any, Any]) -> ObjectMask:
        """From a bitmap (H, W) of the whole picture."""
        height, width = mask.shape
        return cls(mask, 0, 0, (height, width))

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.bitmap.sum())

    def whole(self) -> np.ndarray[Any, Any]:
        """The bitmap (H, W) bool of the whole picture."""
        whole = np.zeros(self.size, bool)
        height, width = self.bitmap.shape
        whole[self.top : self.top + height, self.left : self.left + width] = self.bitmap
        return whole

    def run_lengths(self) -> list[int]:
        """Lengths of the runs in the picture, column by column, zeros first: COCO's uncompressed encoding."""
        height, width = self.size
        changed = np.diff(self.bitmap.astype(np.int8), axis=0, prepend=0, append=0) != 0
        column, row = np.nonzero(changed.T)
        places = (self.left + column) * height + self.top + row
        # where a column ends and the next one begins with a pixel of the object, nothing changes
        same = np.flatnonzero(places[1:] == places[:-1])
        places = np.delete(places, [*same, *(same + 1)])
        end = height * width
        inner = places[places < end]
        return [int(length) for length in np.diff(np.concatenate([[0], inner, [end]]))]

    def outlines(self) -> list[Part]:
        """See :func:`internimage.images.outlines.outlines`; corners are the picture's."""
        corner = (self.left, self.top)
        return [
            Part(part.outline + corner, tuple(hole + corner for hole in part.holes)) for part in outlines(self.bitmap)
        ]


def united(masks: Iterable[ObjectMask]) -> ObjectMask:
    """The pixels of all masks of one picture, of which there is at least one; no larger than what spans them."""
    masks = list(masks)
    top, left = min(one.top for one in masks), min(one.left for one in masks)
    bottom, right = (
        max(getattr(one, name) + one.bitmap.shape[axis] for one in masks) for axis, name in enumerate(("top", "left"))
    )
    bitmap = np.zeros((bottom - top, right - left), bool)
    for one in masks:
        height, width = one.bitmap.shape
        bitmap[one.top - top : one.top - top + height, one.left - left : one.left - left + width] |= one.bitmap
    return ObjectMask(bitmap, top, left, masks[0].size)


def paste_mask(
    soft: np.ndarray[Any, Any], box: np.ndarray[Any, Any], size: tuple[int, int], threshold: float = 0.5
) -> np.ndarray[Any, Any]:
    """A soft mask (M, M) of a box (xyxy in pixels) as a bitmap (H, W): bilinear, zeros beyond it, no box rounded."""
    return paste_in_box(soft, box, size, threshold).whole()


def paste_in_box(
    soft: np.ndarray[Any, Any], box: np.ndarray[Any, Any], size: tuple[int, int], threshold: float = 0.5
) -> ObjectMask:
    """:func:`paste_mask` as far as the box reaches."""
    height, width = size
    x1, y1, x2, y2 = (float(value) for value in box)
    left, top = max(0, floor(x1) - 1), max(0, floor(y1) - 1)
    right, bottom = min(width, ceil(x2) + 1), min(height, ceil(y2) + 1)
    if right <= left or bottom <= top:
        return ObjectMask(np.zeros((0, 0), bool), 0, 0, size)
    rows = _weights(top, bottom, y1, y2, soft.shape[0])
    columns = _weights(left, right, x1, x2, soft.shape[1])
    return ObjectMask(rows @ soft.astype(np.float32) @ columns.T >= threshold, top, left, size)


def _weights(start: int, stop: int, low: float, high: float, count: int) -> np.ndarray[Any, Any]:
    """(stop - start, count): how much of each of ``count`` values goes into each pixel between two edges."""
    centres = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    shares = (centres - np.float32(low)) / np.float32(high - low) if high != low else np.full_like(centres, 0.5)
    places = shares * np.float32(count) - np.float32(0.5)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count, dtype=np.float32)))
