"""Training of the RoI heads: sampled RoIs with their objects, losses of class, box and mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.layers.boxes import decode, encode
from internimage.layers.rcnn.assigner import assign, sample
from internimage.layers.rcnn.roi_heads import with_image_numbers
from internimage.structures.detection import DetectionTarget

BoxLoss = Literal["l1", "smooth_l1", "giou"]
_GIOU_WEIGHT = 10.0
_SHARE = 0.25  # of the sampled RoIs that may have an object


@dataclass(frozen=True)
class SampledRoIs:
    """RoIs of one image to learn from, those with an object first.

    Attributes:
        boxes: (R, 4).
        objects: (P,) number of the object of each of the first P.
        own: (R,) bool, whether a RoI is an object's own box.
    """

    boxes: Tensor
    objects: Tensor
    own: Tensor


def sample_rois(
    proposals: Tensor,
    truth: DetectionTarget,
    overlap: float,
    *,
    low_quality: bool,
    count: int = 512,
) -> SampledRoIs:
    """Choose among ``proposals`` (K, 4) and the objects' own boxes; ``overlap`` divides objects from background."""

    assigned = assign(truth.boxes, proposals, overlap, overlap, overlap if low_quality else None)
    assigned = torch.cat([torch.arange(len(truth.boxes), device=assigned.device), assigned])
    boxes = torch.cat([truth.boxes, proposals])
    positives, negatives = sample(assigned, count, _SHARE)
    chosen = torch.cat([positives, negatives])
    return SampledRoIs(boxes[chosen], assigned[positives], chosen < len(truth.boxes))


def roi_labels(sampled: Sequence[SampledRoIs], targets: Sequence[DetectionTarget], background: int) -> Tensor:
    """Class of every RoI of all images, (sum of R,)."""
    labels = []
    for rois, truth in zip(sampled, targets, strict=True):
        label = truth.labels.new_full((len(rois.boxes),), background)
        label[: len(rois.objects)] = truth.labels[rois.objects]
        labels.append(label)
    return torch.cat(labels)


def box_losses(
    logits: Tensor,
    deltas: Tensor,
    sampled: Sequence[SampledRoIs],
    targets: Sequence[DetectionTarget],
    stds: tuple[float, float, float, float],
    kind: BoxLoss,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy, and distance of the boxes of RoIs with an object, both over the number of all RoIs.

    Args:
        logits: (R, K + 1), background last.
        deltas: (R, K or 1, 4).
        sampled, targets: of each image; R RoIs in all.
        stds: scale of the deltas.
        kind: "l1" or "smooth_l1" of the deltas, or ten times the generalised IoU's distance of the boxes (Rezatofighi
            et al., 2019).
    """
    from torchvision.ops import generalized_box_iou_loss

    labels = roi_labels(sampled, targets, logits.shape[1] - 1)
    classification = F.cross_entropy(logits.float(), labels, reduction="sum")
    rows = (labels < logits.shape[1] - 1).nonzero()[:, 0]
    columns = labels[rows] if deltas.shape[1] > 1 else torch.zeros_like(rows)
    said = deltas[rows, columns].float()
    references = torch.cat([rois.boxes[: len(rois.objects)] for rois in sampled])
    wanted = torch.cat([truth.boxes[rois.objects] for rois, truth in zip(sampled, targets, strict=True)])
    if kind == "giou":
        boxes = decode(references, said[:, None], stds)[:, 0]
        distance = _GIOU_WEIGHT * generalized_box_iou_loss(boxes, wanted, reduction="sum")
    else:
        distance = F.smooth_l1_loss(
            said, encode(references, wanted, stds), reduction="sum", beta=1.0 if kind == "smooth_l1" else 0.0
        )
    count = max(1, len(labels))
    return classification / count, distance / count


def mask_loss(logits: Tensor, sampled: Sequence[SampledRoIs], targets: Sequence[DetectionTarget]) -> Tensor:
    """Mean binary cross-entropy of the masks (P, K, M, M) of RoIs with an object, each in its class's channel."""
    labels = torch.cat([truth.labels[rois.objects] for rois, truth in zip(sampled, targets, strict=True)])
    if not len(labels):
        return logits.sum() * 0  # so that every process has a gradient of every parameter
    bitmaps = torch.cat([mask_targets(*pair, logits.shape[-1]) for pair in zip(sampled, targets, strict=True)])
    said = logits[torch.arange(len(labels), device=labels.device), labels]
    return F.binary_cross_entropy_with_logits(said.float(), bitmaps)


def mask_targets(sampled: SampledRoIs, truth: DetectionTarget, size: int) -> Tensor:
    """(P, size, size) float32 of zeros and ones: each object's bitmap within its RoI."""
    from torchvision.ops import roi_align

    assert truth.masks is not None
    boxes = sampled.boxes[: len(sampled.objects)]
    used, place = sampled.objects.unique(return_inverse=True)  # of a thousand masks few are needed
    numbered = with_image_numbers([boxes])
    numbered[:, 0] = place
    soft = roi_align(truth.masks[used, None].float(), numbered, size, sampling_ratio=0, aligned=True)
    return (soft[:, 0] >= 0.5).float()
