"""Whether classes of masks are those that the masks were drawn for: where numbers may be read in two ways.

Masks of Pascal Context in the wrong one of two orders, and of COCO-Stuff shifted by one, look like masks.  What gives
them away is the sky, which is above the ground: if that holds in nearly all pictures by another reading and not by
the one that was taken, the other one is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from internimage.data.formats.sets.pascal_context import other_order
from internimage.data.masks import SegmentedImages

_SKY = frozenset({"sky", "sky-other"})
_GROUND = frozenset({"road", "sidewalk", "pavement", "grass", "ground", "ground-other", "dirt", "sand", "sea"})
_LOOKED_AT = 2_000  # pictures
_SHARE = 0.01  # of a picture's pixels, below which a class says nothing
_PAIRS = 20  # pictures with both that make it certain
_CERTAIN, _POOR, _SCARCE = 0.95, 0.8, 0.25


class ClassOrder:
    """Gathers where in its picture each class lies.

    Args:
        data: of a set, whose masks may have been read in another way.
    """

    def __init__(self, data: SegmentedImages) -> None:
        self._classes = data.classes
        self._others = _others(data)
        self._heights: list[np.ndarray[Any, Any]] = []

    def add(self, truth: np.ndarray[Any, Any]) -> None:
        """One picture: class numbers (H, W), -1 where unknown."""
        if not self._others or len(self._heights) == _LOOKED_AT:
            return
        numbers, count = truth.ravel() + 1, len(self._classes) + 1
        rows = np.repeat((np.arange(truth.shape[0]) + 0.5) / truth.shape[0], truth.shape[1])
        pixels = np.bincount(numbers, minlength=count)
        heights = np.bincount(numbers, rows, count) / np.maximum(pixels, 1)
        self._heights.append(np.where(pixels >= _SHARE * truth.size, heights, np.nan)[1:].astype(np.float32))

    def doubt(self) -> str | None:
        """What is wrong, and how to read the masks; None where nothing is, or not for certain."""
        both, above = self._sky_above_ground(range(len(self._classes)))
        for advice, classes in self._others.items():
            pictures, higher = self._sky_above_ground(classes)
            if pictures < _PAIRS or higher < _CERTAIN * pictures:
                continue
            if both < _SCARCE * pictures or above < _POOR * both:
                return (
                    f"the sky is above the ground in {above} of {both} pictures that have both, and in {higher} of "
                    f"{pictures} if the masks are read otherwise: {advice}"
                )
        return None

    def _sky_above_ground(self, classes: Sequence[int]) -> tuple[int, int]:
        """Pictures with sky and ground, and those in which it is higher, if each class is one of ``classes``."""
        if not self._heights:
            return 0, 0
        heights = np.array(self._heights)
        sky, ground = (
            _mean(
                heights[:, [number for number, one in enumerate(classes) if one >= 0 and self._classes[one] in names]]
            )
            for names in (_SKY, _GROUND)
        )
        return int((~np.isnan(sky + ground)).sum()), int((sky < ground).sum())


def _mean(heights: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of the classes (N, C) that a picture has; NaN where it has none."""
    known = ~np.isnan(heights)
    return np.divide(np.nansum(heights, 1), known.sum(1), out=np.full(len(heights), np.nan), where=known.any(1))


def _others(data: SegmentedImages) -> Mapping[str, Sequence[int]]:
    """For each other way to read the masks, by what to do then, the class that each class would be, -1 for none."""
    if data.format == "Pascal Context":
        found = other_order(data.coding)
        return {} if found is None else {f"pass --reading {found[0]}": found[1]}
    if data.format.startswith("COCO-Stuff"):
        count = len(data.classes)
        advice = "masks of COCO-Stuff 10K and 164K are shifted by one, and these are those of the other set"
        return {
            f"{advice}, a number too low": (*range(1, count), -1),
            f"{advice}, a number too high": range(-1, count - 1),
        }
    return {}
