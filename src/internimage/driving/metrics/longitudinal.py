"""Waymo's score for cameras, which forgives errors along the line of sight: LET-3D-AP, and LET-3D-APL.

Hung et al., LET-3D-AP, ICRA 2024, https://arxiv.org/abs/2206.07705.  No levels of difficulty, breakdowns or zones
without labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from internimage.driving.geometry.boxes import Numbers
from internimage.driving.geometry.library import geometry_library
from internimage.driving.geometry.poses import Array
from internimage.errors import DataError

_CUTOFFS = np.arange(101) / 100
_CORNERS = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2


@dataclass(frozen=True)
class LongitudinalRules:
    """Rules of the score; the defaults are the benchmark's.

    Attributes:
        ious: least overlap of each class.
        tolerance: share of the distance from the sensor by which a box may be off along the line of sight.
        least: metres of that at least.
        sensor: (x, y, z) metres in the vehicle's frame.
        step: of recall at most.
    """

    ious: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType({"vehicle": 0.5, "pedestrian": 0.3, "cyclist": 0.3})
    )
    tolerance: float = 0.1
    least: float = 0.5
    sensor: tuple[float, float, float] = (1.43, 0.0, 2.18)
    step: float = 0.05


class WaymoBoxes(NamedTuple):
    """Boxes of a frame.

    Attributes:
        boxes: (N, 7) x, y, z of the centre, length, width, height in metres, heading in radians counter-clockwise from
            x, in the vehicle's frame (x forward, y left, z up).
        labels: (N,) numbers of classes.
        scores: (N,), 1 for true ones.
    """

    boxes: Array
    labels: Numbers
    scores: Array


_RULES = LongitudinalRules()


def affinities(truth: Array, found: Array, rules: LongitudinalRules = _RULES) -> Array:
    """(G, P) from 1 for the same distance along the true line of sight to 0 at the tolerance and beyond."""
    true, other = truth[:, :3] - rules.sensor, found[:, :3] - rules.sensor
    ranges = np.linalg.norm(true, axis=1)
    off = np.abs(((other[None] - true[:, None]) * true[:, None]).sum(2)) / ranges[:, None]
    return np.maximum(0.0, 1 - off / np.maximum(rules.tolerance * ranges, rules.least)[:, None])


def tolerant_ious(truth: Array, found: Array, rules: LongitudinalRules = _RULES) -> Array:
    """(G, P) overlaps after each found box has moved along its line of sight to where it is nearest to the true one."""
    true, other = truth[:, :3] - rules.sensor, found[:, :3] - rules.sensor
    scale = (true[:, None] * other[None]).sum(2) / (other**2).sum(1)
    moved = np.broadcast_to(found, (len(truth), *found.shape)).copy()
    moved[..., :3] = rules.sensor + scale[..., None] * other
    return ious(np.broadcast_to(truth[:, None], moved.shape), moved)


def ious(one: Array, other: Array) -> Array:
    """(...) intersections over unions of boxes (..., 7) and (..., 7) that are upright and turned about z."""
    shapely = geometry_library()
    areas = shapely.area(shapely.intersection(_outline(one), _outline(other)))
    top = np.minimum(one[..., 2] + one[..., 5] / 2, other[..., 2] + other[..., 5] / 2)
    bottom = np.maximum(one[..., 2] - one[..., 5] / 2, other[..., 2] - other[..., 5] / 2)
    common = areas * np.maximum(0.0, top - bottom)
    volumes = one[..., 3:6].prod(-1) + other[..., 3:6].prod(-1)
    result: Array = common / (volumes - common)
    return result


def _outline(boxes: Array) -> Any:
    corners = _CORNERS * boxes[..., None, 3:5]
    cos, sin = np.cos(boxes[..., 6]), np.sin(boxes[..., 6])
    turned = np.einsum("...ij,...kj->...ki", np.stack([cos, -sin, sin, cos], -1).reshape(*cos.shape, 2, 2), corners)
    return geometry_library().polygons(turned + boxes[..., None, :2])


class LongitudinalScore:
    """The score of boxes in frames that are added one by one, by any number of processes.

    Args:
        classes: names, which ``rules`` must know.
        rules: see there.

    Raises:
        DataError: a class has no least overlap.
    """

    def __init__(self, classes: Sequence[str], rules: LongitudinalRules = _RULES) -> None:
        if unknown := [name for name in classes if name not in rules.ious]:
            raise DataError(f"no overlap is known for {unknown[0]}; there are {', '.join(rules.ious)}")
        self.classes, self.rules = tuple(classes), rules
        self._frames: dict[str, Array] = {}

    def add(self, token: str, truth: WaymoBoxes, found: WaymoBoxes) -> None:
        """Add a frame; one that is there already is replaced.

        Raises:
            DataError: a number is not finite, a size not above 0, a label no class.
        """
        for one, what in ((truth, "true box"), (found, "prediction")):
            _check(one, len(self.classes), f"frame {token}, {what}")
        counts = np.zeros((len(self.classes), len(_CUTOFFS), 4))
        for label, name in enumerate(self.classes):
            own, other = truth.boxes[truth.labels == label], found.boxes[found.labels == label]
            near = affinities(own, other, self.rules)
            overlaps = tolerant_ious(own, other, self.rules) if near.size else near
            weights = np.where((near > 0) & (overlaps >= self.rules.ious[name]), near * overlaps, 0.0)
            counts[label] = _counted(weights, near, found.scores[found.labels == label])
        self._frames[token] = counts

    def state(self) -> dict[str, Array]:
        """Everything that was added."""
        return self._frames

    def merge(self, states: Sequence[dict[str, Array]]) -> None:
        """Be the sum of what several processes added."""
        self._frames = {token: frame for state in states for token, frame in state.items()}

    def curves(self, label: int) -> tuple[Array, Array, Array]:
        """At each least score of 0, 0.01, ..., 1 precision, precision weighted by affinity, and recall of a class."""
        hits, affinity, found, true = sum(frame[label] for frame in self._frames.values()).T
        recall = hits / np.maximum(true, 1)
        precisions = [np.divide(part, found, out=np.ones_like(part), where=hits > 0) for part in (hits, affinity)]
        return precisions[0], precisions[1], recall

    def compute(self) -> dict[str, float]:
        """ "let_3d_ap" and "let_3d_apl", means over classes, both with "_CLASS" for each, and "frames"."""
        found: dict[str, float] = {}
        for label, name in enumerate(self.classes):
            precision, weighted, recall = self.curves(label)
            found[f"let_3d_ap_{name}"] = area(precision, recall, self.rules.step)
            found[f"let_3d_apl_{name}"] = area(weighted, recall, self.rules.step)
        means = {
            kind: float(np.mean([found[f"{kind}_{name}"] for name in self.classes]))
            for kind in ("let_3d_ap", "let_3d_apl")
        }
        return {**means, **found, "frames": len(self._frames)}


def _check(boxes: WaymoBoxes, classes: int, where: str) -> None:
    count = len(boxes.labels)
    for name, shape in (("boxes", (count, 7)), ("scores", (count,))):
        values = np.asarray(getattr(boxes, name))
        if values.shape != shape or not np.isfinite(values).all():
            raise DataError(f"{where}: {name} are of {values.shape}; expected {shape} finite numbers")
    if count and not 0 <= boxes.labels.min() <= boxes.labels.max() < classes:
        raise DataError(f"{where}: labels to {boxes.labels.max()}; expected 0 to {classes - 1}")
    if (boxes.boxes[:, 3:6] <= 0).any():
        raise DataError(f"{where}: a size of {boxes.boxes[:, 3:6].min():g}; expected lengths above 0")


def _counted(weights: Array, near: Array, scores: Array) -> Array:
    """(101, 4) of each least score: hits, the sum of their affinities, predictions, true boxes."""
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    rows = np.zeros((len(_CUTOFFS), 4))
    before: tuple[int, float, float] | None = None
    for place, least in enumerate(_CUTOFFS):
        kept = np.flatnonzero(scores >= least)
        if before is None or before[0] != len(kept):
            mine, other = linear_sum_assignment(weights[:, kept], maximize=True)
            good = weights[mine, kept[other]] > 0
            before = len(kept), float(good.sum()), float(near[mine, kept[other]][good].sum())
        rows[place] = before[1], before[2], before[0], len(weights)
    return rows


def area(precision: Array, recall: Array, step: float) -> float:
    """Under the envelope of precision over recall: in gaps of more than ``step`` it keeps the value of the greater
    recall, but for the rest of the division; without recall it is the last that was measured."""
    recalls = np.unique(recall)[::-1]
    best = np.maximum.accumulate(np.array([precision[recall == one].max() for one in recalls]))
    if recalls[-1] == 0:
        best[-1] = best[-2] if len(best) > 1 else 0.0
    total = float(recalls[-1] * best[-1])
    for high, low, above, below in zip(recalls[:-1], recalls[1:], best[:-1], best[1:], strict=True):
        level = max(0, math.ceil((high - low) / step - 1e-9) - 1) * step
        total += level * above + (high - low - level) * (above + below) / 2
    return float(total)
