"""Objects in images: what a detector learns from, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class DetectionConfig:
    """Which boxes are reported.

    Attributes:
        score_threshold: least score, itself left out.
        nms_threshold: largest overlap of two boxes of a class.
        keep: most boxes of an image.
        suppression: what becomes of boxes that overlap a better one of their class by more than ``nms_threshold``:
            they are dropped, or their scores are multiplied by 1 - IoU, see
            :func:`internimage.structures.merging.soft_nms`.
    """

    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    keep: int = 100
    suppression: Literal["nms", "soft-nms"] = "nms"


@dataclass(frozen=True)
class RawDetections:
    """Objects of one image, best first.

    Attributes:
        boxes: (K, 4) x1, y1, x2, y2 in pixels of the original image.
        scores: (K,).
        labels: (K,) int64.
        masks: (K, M, M) probabilities within each box; None for models without masks.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None


@dataclass(frozen=True)
class DetectionTarget:
    """Objects of one image to learn from.

    Attributes:
        boxes: (G, 4) float32 x1, y1, x2, y2 in pixels of the image as the model sees it, each of some extent.
        labels: (G,) int64.
        masks: (G, H, W) bool; None where there are none.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor | None = None

    def to(self, device: torch.device) -> DetectionTarget:
        masks = None if self.masks is None else self.masks.to(device, non_blocking=True)
        boxes, labels = (tensor.to(device, non_blocking=True) for tensor in (self.boxes, self.labels))
        return DetectionTarget(boxes, labels, masks)
