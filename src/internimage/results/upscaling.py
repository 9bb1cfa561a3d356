"""From logits at a network's size to the class of every pixel, in NumPy; with torch, the segmentation task does it."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_AT_ONCE = 4 << 20  # pixels of all classes that are enlarged at a time: 16 MB


def best_classes(
    logits: Array, whole: tuple[int, int], seen: tuple[int, int], original: tuple[int, int]
) -> tuple[Array, Array]:
    """Class (H, W) and its probability of each pixel, from logits (K, h, w).

    They are enlarged to ``whole``, what the network saw, cut to ``seen``, what of it was the picture, and scaled to the
    ``original``, bilinearly.  All is linear, so it is one product of matrices; a few classes at a time.
    """
    rows, columns = (
        _bilinear(part, last) @ _bilinear(own, all_)[:part]
        for own, all_, part, last in zip(logits.shape[1:], whole, seen, original, strict=True)
    )
    height, width = original
    best, total = (np.full(original, -np.inf, np.float32) for _ in range(2))
    labels = np.zeros(original, np.int32)
    step = max(1, _AT_ONCE // (height * width))
    for start in range(0, len(logits), step):
        some = logits[start : start + step].copy()
        if some.shape[1:] != original:
            some = rows @ some @ columns.T
        for number, one in enumerate(some, start):
            better = one > best
            np.copyto(labels, number, where=better)
            np.maximum(best, one, out=best)
        most = some.max(0)
        some -= most
        total = np.logaddexp(total, most + np.log(np.exp(some, out=some).sum(0)))
    return labels, np.exp(best - total)


def enlarge(logits: Array, size: tuple[int, int]) -> Array:
    """Maps (K, h, w) at another (height, width): bilinear, corners not aligned."""
    rows, columns = (_bilinear(own, wanted) for own, wanted in zip(logits.shape[1:], size, strict=True))
    enlarged: Array = rows @ logits @ columns.T
    return enlarged


def _bilinear(length: int, wanted: int) -> Array:
    """(wanted, length): how much of each value goes into each place."""
    if length == wanted:
        return np.eye(length, dtype=np.float32)
    places = np.maximum(
        (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * np.float32(length / wanted) - np.float32(0.5), 0
    )
    first = places.astype(np.int64)
    share = places - first.astype(np.float32)
    weights = np.zeros((wanted, length), np.float32)
    numbers = np.arange(wanted)
    weights[numbers, first] = 1 - share
    weights[numbers, np.minimum(first + 1, length - 1)] += share
    return weights
