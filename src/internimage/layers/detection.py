"""What detectors of regions have in common: which boxes are reported, and their masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from internimage.layers.boxes import suppress
from internimage.layers.roi_heads import MaskHead, region_features, with_image_numbers


@dataclass(frozen=True)
class DetectionConfig:
    """Which boxes are reported.

    Attributes:
        score_threshold: least score, itself left out.
        nms_threshold: largest overlap of two boxes of a class.
        keep: most boxes of an image.
    """

    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    keep: int = 100


@dataclass(frozen=True)
class RawDetections:
    """Objects of one image, best first.

    Attributes:
        boxes: (K, 4) x1, y1, x2, y2 in pixels of the original image.
        scores: (K,).
        labels: (K,) int64.
        masks: (K, 28, 28) probabilities within each box; None for models without masks.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None


@dataclass(frozen=True)
class GroundTruth:
    """Objects of one image to learn from.

    Attributes:
        boxes: (G, 4) float32 x1, y1, x2, y2 in pixels of the image as the model sees it, each of some extent.
        labels: (G,) int64.
        masks: (G, H, W) bool; None where there are none.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor | None = None

    def to(self, device: torch.device) -> GroundTruth:
        masks = None if self.masks is None else self.masks.to(device, non_blocking=True)
        boxes, labels = (tensor.to(device, non_blocking=True) for tensor in (self.boxes, self.labels))
        return GroundTruth(boxes, labels, masks)


def select(boxes: Tensor, scores: Tensor, config: DetectionConfig) -> RawDetections:
    """The best boxes of all classes: ``boxes`` (R, K or 1, 4), ``scores`` (R, K)."""
    region, label = (scores > config.score_threshold).nonzero(as_tuple=True)
    chosen = boxes.expand(-1, scores.shape[1], -1)[region, label]
    score = scores[region, label]
    kept = suppress(chosen, score, label, config.nms_threshold)[: config.keep]
    return RawDetections(chosen[kept], score[kept], label[kept], None)


def detect_masks(
    heads: Iterable[nn.Module],
    maps: Sequence[Tensor],
    strides: Sequence[int],
    found: Sequence[RawDetections],
    scales: Tensor,
) -> list[RawDetections]:
    """Add a mask to each object, the mean of what ``heads`` say; without heads there are none.

    Args:
        heads: :class:`MaskHead`, those of one model.
        maps, strides: where the regions' features come from, see :func:`region_features`.
        found: objects of each image, in pixels of the original.
        scales: (N, 4) how much larger each image is than the original, in x, y, x, y.
    """
    heads = list(heads)
    if not heads:
        return list(found)
    rois = with_image_numbers([one.boxes * scale for one, scale in zip(found, scales, strict=True)])
    features = region_features(maps, strides, rois, MaskHead.size)
    labels = torch.cat([one.labels for one in found])
    rows = torch.arange(len(labels), device=labels.device)
    masks = torch.stack([head(features)[rows, labels].float().sigmoid() for head in heads]).mean(0)
    parts = masks.split([len(one.boxes) for one in found])
    return [replace(one, masks=part) for one, part in zip(found, parts, strict=True)]
