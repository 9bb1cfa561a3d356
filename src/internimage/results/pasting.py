"""Masks within boxes as bitmaps of the whole image, in NumPy: results know no torch."""

from __future__ import annotations

from math import ceil, floor
from typing import Any

import numpy as np


def paste_mask(
    soft: np.ndarray[Any, Any], box: np.ndarray[Any, Any], size: tuple[int, int], threshold: float = 0.5
) -> np.ndarray[Any, Any]:
    """A soft mask (M, M) of a box (xyxy in pixels) as a bitmap (H, W): bilinear, zeros beyond it, no box rounded."""
    height, width = size
    bitmap = np.zeros(size, bool)
    x1, y1, x2, y2 = (float(value) for value in box)
    left, top = max(0, floor(x1) - 1), max(0, floor(y1) - 1)
    right, bottom = min(width, ceil(x2) + 1), min(height, ceil(y2) + 1)
    if right > left and bottom > top:
        rows = _weights(top, bottom, y1, y2, soft.shape[0])
        columns = _weights(left, right, x1, x2, soft.shape[1])
        bitmap[top:bottom, left:right] = rows @ soft.astype(np.float32) @ columns.T >= threshold
    return bitmap


def _weights(start: int, stop: int, low: float, high: float, count: int) -> np.ndarray[Any, Any]:
    """(stop - start, count): how much of each of ``count`` values goes into each pixel between two edges."""
    centres = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    shares = (centres - np.float32(low)) / np.float32(high - low) if high != low else np.full_like(centres, 0.5)
    places = shares * np.float32(count) - np.float32(0.5)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count, dtype=np.float32)))
