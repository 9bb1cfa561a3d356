"""What features say of classes that nobody taught them: each picture asks the others that are nearest to it."""

from __future__ import annotations

from typing import Any

import numpy as np

_BLOCK = 4_000_000  # similarities at once


def neighbour_accuracy(features: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], neighbours: int = 5) -> float:
    """Share of pictures whose class is that of most of their nearest neighbours, the picture itself left out.

    Args:
        features: (N, C), compared by the cosine of what differs from their mean: means that all share say nothing.
        labels: (N,) int64, 0 or more.
        neighbours: how many vote, each with 1, and of classes with as many votes the nearest one's; fewer where there
            are no more pictures.

    Returns:
        0 to 1; nan of fewer than two pictures.
    """
    count = len(features)
    if count < 2:
        return float("nan")
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    taken = min(neighbours, count - 1)
    right = 0
    step = max(1, _BLOCK // count)
    for start in range(0, count, step):
        similarity = unit[start : start + step] @ unit.T
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = -np.inf
        nearest = labels[np.argsort(-similarity, axis=1, kind="stable")[:, :taken]]
        votes = (nearest[:, :, None] == nearest[:, None, :]).sum(2)
        right += int((nearest[rows, votes.argmax(1)] == labels[start : start + step]).sum())
    return right / count
