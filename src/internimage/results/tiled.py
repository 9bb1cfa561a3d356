"""Objects of tiles of a picture as objects of the picture: one that a seam cuts, or that two tiles show, is one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from internimage.images import ImageSource
from internimage.results.detections import Detections, MaskParts
from internimage.structures.boxes import Found, joined
from internimage.structures.merging import merge_slices


def unite(
    results: Sequence[Detections],
    windows: Sequence[tuple[int, int, int, int]],
    size: tuple[int, int],
    source: ImageSource,
) -> Detections:
    """The objects of a picture from those of its windows, best first, by greedy merging within each class.

    See :func:`internimage.structures.merging.merge_slices`: boxes are united that share half of the smaller one's area,
    their masks too, and the score is the best one's.

    Args:
        results: of each window as a picture of its own; at least one.
        windows: x1, y1, x2, y2 of each in the picture.
        size: (height, width) of the picture.
        source: the picture.
    """
    corners = [np.array([x1, y1, x1, y1], np.float32) for x1, y1, _, _ in windows]
    boxes = np.concatenate([one.boxes + corner for one, corner in zip(results, corners, strict=True)])
    labels, scores = joined((one.labels for one in results), int), joined((one.scores for one in results), float)
    merged = merge_slices(Found(labels, scores, boxes))
    parts = None
    if masks := [one.soft_masks for one in results if one.soft_masks is not None]:
        soft = np.concatenate(masks)
        parts = tuple(MaskParts(boxes[own], soft[own]) for own in merged.members)
    return Detections(
        merged.boxes.astype(np.float32),
        merged.scores.astype(np.float32),
        merged.labels,
        results[0].names,
        size,
        source,
        parts=parts,
    )
