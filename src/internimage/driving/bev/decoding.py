"""Which boxes are reported: no two queries say the same, so there is no NMS."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from internimage.driving.bev.code import PLACES, boxes_of
from internimage.driving.bev.inputs import RawBoxes3D
from internimage.errors import ConfigError
from internimage.layers.finite import check_finite

_LOWERED, _LEAST = 0.9, 0.01


@dataclass(frozen=True)
class BoxSelection:
    """Which boxes of a frame are reported.

    Attributes:
        keep: pairs of a query and a class that are looked at, those of the highest scores.
        score_threshold: least score, itself left out; lowered until something passes; None for no threshold.
        extent: (x0, y0, z0, x1, y1, z1) in metres, where centres may lie, borders included.
    """

    keep: int = 300
    score_threshold: float | None = None
    extent: tuple[float, float, float, float, float, float] = (-61.2, -61.2, -10.0, 61.2, 61.2, 10.0)

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ConfigError(f"keep is {self.keep}; expected 1 or more")
        if len(self.extent) != 6 or any(
            low >= high for low, high in zip(self.extent[:3], self.extent[3:], strict=True)
        ):
            raise ConfigError(f"extent is {self.extent}; expected (x0, y0, z0, x1, y1, z1), the latter greater")


def best_boxes(logits: Tensor, codes: Tensor, report: BoxSelection) -> RawBoxes3D:
    """The best pairs of a query and a class of one frame: logits (Q, K) and codes (Q, 10), to boxes, best first."""
    check_finite(logits, codes)
    classes = logits.shape[1]
    scores, index = logits.float().sigmoid().flatten().topk(min(report.keep, logits.numel()))
    chosen = codes.float()[index // classes]
    low, high = (chosen.new_tensor(corner) for corner in (report.extent[:3], report.extent[3:]))
    places = chosen[:, PLACES]
    kept = ((places >= low) & (places <= high)).all(-1)
    if report.score_threshold is not None and len(scores):
        kept &= _passing(scores, report.score_threshold)
    return RawBoxes3D(boxes_of(chosen[kept]), scores[kept], index[kept] % classes)


def _passing(scores: Tensor, threshold: float) -> Tensor:
    """Which scores exceed a threshold, or one that is lowered until one of them reaches it; in the end, all."""
    passing = scores > threshold
    while not passing.any():
        threshold *= _LOWERED
        if threshold < _LEAST:
            return scores.isfinite()
        passing = scores >= threshold
    return passing
