"""What nuScenes' detection benchmark measures, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from internimage.driving.data.nuscenes_classes import RANGES

_NOT_MEASURED = {"traffic_cone": ("aoe", "ave", "aae"), "barrier": ("ave", "aae")}


@dataclass(frozen=True)
class NuScenesRules:
    """Rules of the score; the defaults are the benchmark's.

    Attributes:
        distances: metres between the centres, seen from above, below which a detection finds a box.
        error_distance: the one of them at which errors are measured.
        min_recall, min_precision: below them precision does not count.
        ap_weight: of mean average precision, where each error weighs 1.
        half_turn: classes whose front and rear look alike.
        not_measured: errors that a class does not have; classes that nuScenes does not know have no attributes.
        rack_classes: those that are not measured inside a bicycle rack.
    """

    distances: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    error_distance: float = 2.0
    min_recall: float = 0.1
    min_precision: float = 0.1
    ap_weight: float = 5.0
    half_turn: tuple[str, ...] = ("barrier",)
    not_measured: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(_NOT_MEASURED))
    rack_classes: tuple[str, ...] = ("bicycle", "motorcycle")

    @property
    def first(self) -> int:
        """The first of the 101 recalls that counts."""
        return round(100 * self.min_recall) + 1

    def measures(self, name: str, error: str) -> bool:
        """Whether a class has an error of this name."""
        known = name in RANGES or name in self.not_measured
        return error not in self.not_measured.get(name, () if known else ("aae",))
