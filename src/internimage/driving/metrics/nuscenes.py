"""nuScenes' detection score: average precision by distance, five errors of what is found, and one number of them all.

Caesar et al., nuScenes, https://arxiv.org/abs/1903.11027, section 3.1; equal
to nuscenes-devkit 1.2.0 with its configuration ``detection_cvpr_2019``, down to which of two equal scores comes first.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from internimage.driving.data.nuscenes_classes import class_ranges
from internimage.driving.geometry.boxes import GlobalBoxes
from internimage.driving.geometry.poses import Array
from internimage.driving.metrics.filtering import checked, in_any
from internimage.driving.metrics.rules import NuScenesRules
from internimage.driving.metrics.samples import ClassMatches, Columns, class_matches
from internimage.driving.metrics.true_positives import ERRORS, running_mean, true_positive_errors

RECALL = np.linspace(0.0, 1.0, 101)
_RULES = NuScenesRules()
_NAN = float("nan")


class Sample(NamedTuple):
    """What is measured in one sample.

    Attributes:
        place: among the samples.
        truth, found: the boxes that count.
    """

    place: int
    truth: GlobalBoxes
    found: GlobalBoxes


class _Curves(NamedTuple):
    """At each of ``RECALL`` precision, score, and the mean error of all that is found up to there."""

    precision: Array
    scores: Array
    errors: Mapping[str, Array]


class DetectionScore:
    """The score of detections in samples that are added one by one, by any number of processes.

    Args:
        classes: names; numbers of classes in boxes are places in it.  nuScenes' own are looked for up to its ranges,
            others up to 50 m.
        rules: see there.
    """

    def __init__(self, classes: Sequence[str], rules: NuScenesRules = _RULES) -> None:
        self.classes = tuple(classes)
        self.rules = rules
        self._ranges = class_ranges(self.classes)
        self._samples: dict[str, Sample] = {}
        self._changed()

    def add(
        self,
        token: str,
        ego: Array,
        truth: GlobalBoxes,
        found: GlobalBoxes,
        racks: GlobalBoxes | None = None,
        place: int | None = None,
    ) -> None:
        """Add a sample; one that is there already is replaced.

        Args:
            token: its identity.
            ego: (3,) metres, where the vehicle is in the global frame.
            truth, found: boxes of any distance.  Those with a negative label do not count, nor do true boxes without
                points.
            racks: bicycle racks.
            place: orders the samples: of detections with equal scores the last counts as the best.  None for the order
                in which samples are added.

        Raises:
            DataError: a number is not finite, a size not above 0, a score below 0, a label no class.
        """
        kept = []
        for boxes, what in ((truth, "true box"), (found, "detection")):
            checked(boxes, len(self.classes), f"sample {token}, {what}")
            kept.append(self._counted(boxes, np.asarray(ego, np.float64), racks))
        self._samples[token] = Sample(len(self._samples) if place is None else place, *kept)
        self._changed()

    def state(self) -> dict[str, Sample]:
        """Everything that was added."""
        return self._samples

    def merge(self, states: Sequence[dict[str, Sample]]) -> None:
        """Be the sum of what several processes added."""
        self._samples = {token: sample for state in states for token, sample in state.items()}
        self._changed()

    @property
    def tokens(self) -> tuple[str, ...]:
        """Identities of the samples, in their order."""
        return tuple(sorted(self._samples, key=lambda token: self._samples[token].place))

    def sample(self, token: str) -> Sample:
        """What is measured in a sample."""
        return self._samples[token]

    def compute(self) -> dict[str, float]:
        """ "nds", "map", "mate", "mase", "maoe", "mave", "maae" and "samples".

        Means over all classes, also over those without a true box: their precision is 0, their errors are 1.  An error
        that no class has is NaN and not part of the score.
        """
        rows = self.per_class().values()
        numbers = {"map": _mean([row["ap"] for row in rows])}
        numbers |= {f"m{error}": _mean([row[error] for row in rows]) for error in ERRORS}
        goods = [max(0.0, 1 - numbers[f"m{error}"]) for error in ERRORS if numbers[f"m{error}"] == numbers[f"m{error}"]]
        weight = self.rules.ap_weight
        score = (weight * numbers["map"] + sum(goods)) / (weight + len(goods))
        return {"nds": score, **numbers, "samples": float(len(self._samples))}

    def per_class(self) -> dict[str, dict[str, float]]:
        """Of each class "objects" and "found" (how many count), "ap", "ap_0.5", "ap_1", ..., "ate", ..., "aae".

        Errors that a class does not have are NaN.
        """
        rows = {}
        for label, name in enumerate(self.classes):
            matches = self.matches(label, self.rules.error_distance)
            precisions = {f"ap_{one:g}": self._average_precision(label, one) for one in self.rules.distances}
            rows[name] = {
                "objects": float(matches.objects),
                "found": float(len(matches.scores)),
                "ap": _mean(list(precisions.values())),
                **precisions,
                **{error: self._error(label, error) for error in ERRORS},
            }
        return rows

    def precision(self, label: int, distance: float) -> Array:
        """(101,) precision of a class at each of ``RECALL``, at one of the rules' distances."""
        return self._curves(label, distance).precision

    def matches(self, label: int, distance: float) -> ClassMatches:
        """What the detections of a class find at one of the rules' distances; samples are places in ``tokens``."""
        if label not in self._matched:
            self._matched[label] = class_matches(*self._all(), label, self.rules.distances)
        return self._matched[label][distance]

    def _changed(self) -> None:
        self._columns: tuple[Columns, Columns] | None = None
        self._matched: dict[int, dict[float, ClassMatches]] = {}
        self._computed: dict[tuple[int, float], _Curves] = {}

    def _all(self) -> tuple[Columns, Columns]:
        """True and found boxes of all samples."""
        if self._columns is None:
            samples = [self._samples[token] for token in self.tokens]
            self._columns = Columns.of([one.truth for one in samples]), Columns.of([one.found for one in samples])
        return self._columns

    def _counted(self, boxes: GlobalBoxes, ego: Array, racks: GlobalBoxes | None) -> GlobalBoxes:
        """The boxes that count."""
        away = boxes.centres[:, :2] - ego[:2]
        ranges = np.append(self._ranges, 0.0)[boxes.labels.clip(-1)]
        keep = np.sqrt((away * away).sum(1)) < ranges
        if len(boxes.points) == len(boxes):
            keep &= boxes.points != 0
        if racks is not None and len(racks):
            rack_labels = [label for label, name in enumerate(self.classes) if name in self.rules.rack_classes]
            keep &= ~(np.isin(boxes.labels, rack_labels) & in_any(racks, boxes.centres))
        attributes = tuple(map(sys.intern, boxes.attributes))  # each text once, also in a state that is sent
        return replace(boxes, attributes=attributes, points=np.full(len(boxes), -1)).chosen(keep)

    def _average_precision(self, label: int, distance: float) -> float:
        counted = self.precision(label, distance)[self.rules.first :] - self.rules.min_precision
        return float(np.maximum(counted, 0.0).mean()) / (1.0 - self.rules.min_precision)

    def _error(self, label: int, error: str) -> float:
        """The mean over the recalls that are reached; 1 where none is."""
        if not self.rules.measures(self.classes[label], error):
            return _NAN
        curves = self._curves(label, self.rules.error_distance)
        reached = np.flatnonzero(curves.scores)[-1:] + 1
        counted = curves.errors[error][self.rules.first : max(reached, default=0)]
        return float(counted.mean()) if len(counted) else 1.0

    def _curves(self, label: int, distance: float) -> _Curves:
        if (label, distance) not in self._computed:
            self._computed[label, distance] = self._interpolated(label, distance)
        return self._computed[label, distance]

    def _interpolated(self, label: int, distance: float) -> _Curves:
        matches = self.matches(label, distance)
        hits = matches.hits
        if not hits.any():
            return _Curves(np.zeros(101), np.zeros(101), dict.fromkeys(ERRORS, np.ones(101)))
        true = hits.cumsum().astype(np.float64)
        recall = true / matches.objects
        precision = np.interp(RECALL, recall, true / np.arange(1, len(hits) + 1), right=0)
        scores = np.interp(RECALL, recall, matches.scores, right=0)
        errors = self._errors(label, matches, scores) if distance == self.rules.error_distance else {}
        return _Curves(precision, scores, errors)

    def _errors(self, label: int, matches: ClassMatches, scores: Array) -> dict[str, Array]:
        """(101,) means of each error, of what is found with at least these scores."""
        (truth, found), hits = self._all(), matches.hits
        samples, own = matches.samples[hits], matches.scores[hits]
        true = truth.boxes.chosen(truth.places(samples, matches.truth[hits]))
        detected = found.boxes.chosen(found.places(samples, matches.rows[hits]))
        period = np.pi if self.classes[label] in self.rules.half_turn else 2 * np.pi
        return {
            error: np.interp(scores[::-1], own[::-1], running_mean(values)[::-1])[::-1]
            for error, values in true_positive_errors(true, detected, period).items()
        }


def _mean(values: Sequence[float]) -> float:
    """Without NaN; NaN of nothing."""
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else _NAN
