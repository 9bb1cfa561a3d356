"""Which boxes an R-CNN reports, and their masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from internimage.layers.finite import check_finite
from internimage.layers.rcnn.roi_heads import MaskHead, roi_features, with_image_numbers
from internimage.layers.suppression import suppress
from internimage.structures.detection import DetectionConfig, RawDetections


def select(boxes: Tensor, scores: Tensor, config: DetectionConfig) -> RawDetections:
    """The best boxes of all classes: ``boxes`` (R, K or 1, 4), ``scores`` (R, K).

    Raises:
        NonFiniteError: one of them is NaN, which would be below any threshold.
    """
    check_finite(boxes, scores)
    row, label = (scores > config.score_threshold).nonzero(as_tuple=True)
    chosen = boxes.expand(-1, scores.shape[1], -1)[row, label]
    return suppress(RawDetections(chosen, scores[row, label], label, None), config)


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
        maps, strides: where the RoIs' features come from, see :func:`roi_features`.
        found: objects of each image, in pixels of the original.
        scales: (N, 4) how much larger each image is than the original, in x, y, x, y.
    """
    heads = list(heads)
    if not heads:
        return list(found)
    rois = with_image_numbers([one.boxes * scale for one, scale in zip(found, scales, strict=True)])
    features = roi_features(maps, strides, rois, MaskHead.size)
    labels = torch.cat([one.labels for one in found])
    rows = torch.arange(labels.shape[0], device=labels.device)
    masks = torch.stack([head(features)[rows, labels].float().sigmoid() for head in heads]).mean(0)
    parts = [masks] if len(found) == 1 else masks.split([len(one.boxes) for one in found])
    return [replace(one, masks=part) for one, part in zip(found, parts, strict=True)]
