"""Objects of tiles of a picture as objects of the picture: one that a seam cuts, or that two tiles show, is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from internimage.images import ImageSource
from internimage.results.detections import Detections, MaskParts
from internimage.settings.views import Tiles
from internimage.structures.boxes import Found, joined
from internimage.structures.slicing import merge_cut, merge_slices

_REACH = 2.0  # pixels from a seam within which a box reaches it


def unite(
    results: Sequence[Detections],
    windows: Sequence[tuple[int, int, int, int]],
    size: tuple[int, int],
    source: ImageSource,
    tiles: Tiles,
) -> Detections:
    """The objects of a picture from those of its windows, best first, as ``tiles.merge`` says.

    A mask is the union of those of the boxes that an object is united from.  To "seams", the picture as a whole tells
    of objects that are longer than half a tile; what is smaller is seen better in tiles.

    Args:
        results: of each window as a picture of its own; at least one.
        windows: x1, y1, x2, y2 of each in the picture.
        size: (height, width) of the picture.
        source: the picture.
        tiles: what the windows are.
    """
    placed = [_placed(one, window, size, tiles) for one, window in zip(results, windows, strict=True)]
    cut = joined((_cut(one.boxes, window, size) for one, window in zip(placed, windows, strict=True)), bool)
    boxes = np.concatenate([one.boxes for one in placed])
    labels, scores = joined((one.labels for one in placed), int), joined((one.scores for one in placed), float)
    found = Found(labels, scores, boxes)
    merged = merge_slices(found) if tiles.merge == "greedy" else merge_cut(found, cut)
    parts = None
    if masks := [one.soft_masks for one in placed if one.soft_masks is not None]:
        soft = np.concatenate(masks)
        parts = tuple(MaskParts(boxes[own], soft[own]) for own in merged.members)
    return Detections(
        merged.boxes.astype(np.float32),
        merged.scores.astype(np.float32),
        merged.labels,
        results[0].names,
        size,
        source,
        mask_parts=parts,
    )


def _placed(result: Detections, window: tuple[int, int, int, int], size: tuple[int, int], tiles: Tiles) -> Detections:
    """The objects of a window that count, where they lie in the picture."""
    left, top, right, bottom = window
    if tiles.merge == "seams" and (bottom - top, right - left) == size:
        longer = (result.boxes[:, 2:] - result.boxes[:, :2]).max(1, initial=0)
        return result.part(longer > tiles.size / 2)
    return replace(result, boxes=result.boxes + np.array([left, top, left, top], np.float32))


def _cut(boxes: np.ndarray[Any, Any], window: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Whether (K,) boxes in the picture reach an edge of their window that is none of the picture's."""
    inside = np.array(window) != (0, 0, size[1], size[0])
    return ((np.abs(boxes - window) <= _REACH) & inside).any(1)
