"""Lines on the ground around a vehicle: what a vectorised map of a frame is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from internimage.driving.geometry.boxes import Numbers
from internimage.driving.geometry.poses import Array
from internimage.errors import DataError

CLASSES = ("ped_crossing", "divider", "boundary")
"""Of lines, in the order of their numbers (Liu et al., VectorMapNet, ICML 2023)."""

REGION = (60.0, 30.0)
"""Metres along and across that a map reaches, the vehicle in the middle."""


@dataclass(frozen=True, eq=False)
class VectorMap:
    """Lines of a frame.  Of a closed one the last point is the first again.

    Attributes:
        lines: of each (P, 2) metres in the vehicle's frame (x forward, y left).
        labels: (N,) numbers of classes.
        scores: (N,), 1 for true ones.
    """

    lines: Sequence[Array]
    labels: Numbers
    scores: Array

    @classmethod
    def true(cls, lines: Sequence[Sequence[Array]]) -> VectorMap:
        """What is known to be there, from the lines of each class in turn."""
        labels = [label for label, own in enumerate(lines) for _ in own]
        return cls([line for own in lines for line in own], np.array(labels, np.int64), np.ones(len(labels)))

    def checked(self, where: str, classes: int) -> VectorMap:
        """The map itself; ``where`` begins the message.

        Raises:
            DataError: something has another shape, or a number is not finite or no class.
        """
        count = len(self.lines)
        for name in ("labels", "scores"):
            if np.shape(getattr(self, name)) != (count,):
                raise DataError(f"{where}: {name} is of {np.shape(getattr(self, name))}; expected {(count,)}")
        if count and not 0 <= self.labels.min() <= self.labels.max() < classes:
            raise DataError(
                f"{where}: labels from {self.labels.min()} to {self.labels.max()}; expected 0 to {classes - 1}"
            )
        if not np.isfinite(self.scores).all():
            raise DataError(f"{where}: scores that are not finite")
        for number, line in enumerate(self.lines):
            if np.ndim(line) != 2 or np.shape(line)[1] != 2 or not np.isfinite(line).all():
                raise DataError(f"{where}: line {number} is of {np.shape(line)}; expected points of 2 finite numbers")
        return self


def is_closed(line: Array) -> bool:
    """Whether a line's last point is its first."""
    return len(line) > 2 and bool(np.abs(line[0] - line[-1]).max() < 1e-6)


def evenly_spaced(line: Array, count: int) -> Array:
    """(count, 2) points at even distances along a line of two points or more, its ends included."""
    line = np.asarray(line, np.float64)
    along = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
    places = np.linspace(0, along[-1], count)
    return np.stack([np.interp(places, along, line[:, axis]) for axis in range(2)], axis=1)
