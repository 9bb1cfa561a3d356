"""What becomes of boxes of a class that overlap, with their masks: NMS, soft-NMS, weighted box fusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from internimage.layers.boxes import nms
from internimage.structures.boxes import Found
from internimage.structures.detection import DetectionConfig, RawDetections
from internimage.structures.merging import soft_nms, weighted_boxes_fusion


def suppress(found: RawDetections, config: DetectionConfig) -> RawDetections:
    """The best of boxes in any order, by NMS or soft-NMS within each class, as ``config`` says."""
    if config.suppression == "nms":
        kept = nms(found.boxes, found.scores, found.labels, config.nms_threshold)[: config.keep]
        scores = found.scores[kept]
    else:
        places, lowered = soft_nms(_plain(found), overlap=config.nms_threshold, most=config.keep)
        kept = torch.from_numpy(places).to(found.labels.device)
        scores = torch.from_numpy(lowered).to(found.scores)
    masks = None if found.masks is None else found.masks[kept]
    return RawDetections(found.boxes[kept], scores, found.labels[kept], masks)


def joined(views: Sequence[RawDetections]) -> RawDetections:
    """The boxes of all views of a picture, one view after the other."""
    boxes, scores, labels = (torch.cat([getattr(one, name) for one in views]) for name in ("boxes", "scores", "labels"))
    masks = [one.masks for one in views if one.masks is not None]
    return RawDetections(boxes, scores, labels, torch.cat(masks) if masks else None)


def fuse(views: Sequence[RawDetections], keep: int) -> RawDetections:
    """The boxes of several views of a picture by weighted box fusion, all views weighing the same; the best ``keep``.

    A mask is the mean of those of its boxes by score, each in the frame of its own box.
    """
    whole = joined(views)
    fused = weighted_boxes_fusion([_plain(one) for one in views], [1.0] * len(views))
    masks = None
    if whole.masks is not None:
        soft, scores = (one.float().cpu().numpy() for one in (whole.masks, whole.scores))
        means = [np.average(soft[own], axis=0, weights=scores[own]) for own in fused.members[:keep]]
        masks = torch.from_numpy(np.reshape(means, (-1, *soft.shape[1:]))).to(whole.masks)
    return RawDetections(
        torch.from_numpy(fused.boxes[:keep]).to(whole.boxes),
        torch.from_numpy(fused.scores[:keep]).to(whole.scores),
        torch.from_numpy(fused.labels[:keep]).to(whole.labels),
        masks,
    )


def _plain(found: RawDetections) -> Found:
    """As arrays: boxes are taken one after the other, which is faster in NumPy than on any device."""
    scores, boxes = (one.float().cpu().numpy() for one in (found.scores, found.boxes))
    return Found(found.labels.cpu().numpy(), scores, boxes)
