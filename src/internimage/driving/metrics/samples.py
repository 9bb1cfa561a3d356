"""Boxes of many samples as columns, and which of them find each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from internimage.driving.geometry.boxes import GlobalBoxes, Numbers
from internimage.driving.geometry.poses import Array
from internimage.driving.metrics.matching import FALSE, match, near_pairs


class ClassMatches(NamedTuple):
    """Detections of one class in all samples, best first, and what they find.

    Attributes:
        samples: (N,) places of their samples.
        rows: (N,) their places among the sample's detections.
        scores: (N,) falling.
        truth: (N,) place among the sample's true boxes of the one that each finds, ``FALSE`` for none.
        objects: how many true boxes there are.
    """

    samples: Numbers
    rows: Numbers
    scores: Array
    truth: Numbers
    objects: int

    @property
    def hits(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """(N,) whether each finds a box."""
        hits: np.ndarray[tuple[int], np.dtype[np.bool_]] = self.truth != FALSE
        return hits


class Columns(NamedTuple):
    """Boxes of all samples, one after the other.

    Attributes:
        boxes: N of them.
        samples: (N,) the place of the sample of each.
        rows: (N,) the place of each in its sample.
        starts: (S,) where samples begin.
    """

    boxes: GlobalBoxes
    samples: Numbers
    rows: Numbers
    starts: Numbers

    @classmethod
    def of(cls, parts: Sequence[GlobalBoxes]) -> Columns:
        """Of the boxes of each sample."""
        counts = np.array([len(part) for part in parts], np.int64)
        starts = np.concatenate([[0], counts.cumsum()]).astype(np.int64)[:-1]
        boxes, samples = joined(parts), np.repeat(np.arange(len(parts)), counts)
        return cls(boxes, samples, np.arange(len(boxes)) - starts[samples], starts)

    def places(self, samples: Numbers, rows: Numbers) -> Numbers:
        """(N,) places of boxes by their samples and their places there."""
        places: Numbers = self.starts[samples] + rows
        return places


def joined(parts: Sequence[GlobalBoxes]) -> GlobalBoxes:
    """Boxes one after the other."""
    parts = parts or [GlobalBoxes.empty()]
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("centres", "sizes", "rotations", "velocities", "labels", "scores", "points")
    }
    return GlobalBoxes(attributes=tuple(text for part in parts for text in part.attributes), **columns)


def class_matches(truth: Columns, found: Columns, label: int, distances: Sequence[float]) -> dict[float, ClassMatches]:
    """What the detections of a class find at each of some distances in metres; of equal scores the last comes first."""
    objects, own = np.flatnonzero(truth.boxes.labels == label), np.flatnonzero(found.boxes.labels == label)
    scores = found.boxes.scores[own]
    own = own[np.argsort(scores, kind="stable")[::-1]]
    centres = found.boxes.centres[own, :2], truth.boxes.centres[objects, :2]
    pairs = near_pairs(centres[0], found.samples[own], centres[1], truth.samples[objects], max(distances))
    rows = np.append(truth.rows[objects], FALSE)  # the last one, which FALSE finds
    return {
        distance: ClassMatches(
            found.samples[own],
            found.rows[own],
            found.boxes.scores[own],
            rows[match(pairs, len(own), len(objects), distance)],
            len(objects),
        )
        for distance in distances
    }
