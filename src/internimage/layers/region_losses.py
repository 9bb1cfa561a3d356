"""What the heads on regions learn: sampled regions with their objects, losses of class, box and mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.layers.boxes import decode, encode
from internimage.layers.detection import GroundTruth
from internimage.layers.matching import match, sample
from internimage.layers.roi_heads import with_image_numbers

BoxLoss = Literal["l1", "smooth_l1", "giou"]
_GIOU_WEIGHT = 10.0
_SHARE = 0.25  # of the sampled regions that may have an object


@dataclass(frozen=True)
class SampledRegions:
    """Regions of one image to learn from, those with an object first.

    Attributes:
        boxes: (R, 4).
        objects: (P,) number of the object of each of the first P.
        own: (R,) bool, whether a region is an object's own box.
    """

    boxes: Tensor
    objects: Tensor
    own: Tensor


def sample_regions(
    proposals: Tensor,
    truth: GroundTruth,
    overlap: float,
    *,
    low_quality: bool,
    count: int = 512,
) -> SampledRegions:
    """Choose among ``proposals`` (K, 4) and the objects' own boxes; ``overlap`` divides objects from background."""

    matches = match(truth.boxes, proposals, overlap, overlap, overlap if low_quality else None)
    matches = torch.cat([torch.arange(len(truth.boxes), device=matches.device), matches])
    boxes = torch.cat([truth.boxes, proposals])
    positives, negatives = sample(matches, count, _SHARE)
    chosen = torch.cat([positives, negatives])
    return SampledRegions(boxes[chosen], matches[positives], chosen < len(truth.boxes))


def region_labels(regions: Sequence[SampledRegions], truths: Sequence[GroundTruth], background: int) -> Tensor:
    """Class of every region of all images, (sum of R,)."""
    labels = []
    for region, truth in zip(regions, truths, strict=True):
        label = truth.labels.new_full((len(region.boxes),), background)
        label[: len(region.objects)] = truth.labels[region.objects]
        labels.append(label)
    return torch.cat(labels)


def box_losses(
    logits: Tensor,
    deltas: Tensor,
    regions: Sequence[SampledRegions],
    truths: Sequence[GroundTruth],
    stds: tuple[float, float, float, float],
    kind: BoxLoss,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy, and distance of the boxes of regions with an object, both over the number of all regions.

    Args:
        logits: (R, K + 1), background last.
        deltas: (R, K or 1, 4).
        regions, truths: of each image; R regions in all.
        stds: scale of the deltas.
        kind: "l1" or "smooth_l1" of the deltas, or ten times the generalised IoU's distance of the boxes (Rezatofighi
            et al., 2019).
    """
    from torchvision.ops import generalized_box_iou_loss

    labels = region_labels(regions, truths, logits.shape[1] - 1)
    classification = F.cross_entropy(logits.float(), labels, reduction="sum")
    rows = (labels < logits.shape[1] - 1).nonzero()[:, 0]
    columns = labels[rows] if deltas.shape[1] > 1 else torch.zeros_like(rows)
    said = deltas[rows, columns].float()
    references = torch.cat([region.boxes[: len(region.objects)] for region in regions])
    wanted = torch.cat([truth.boxes[region.objects] for region, truth in zip(regions, truths, strict=True)])
    if kind == "giou":
        boxes = decode(references, said[:, None], stds)[:, 0]
        distance = _GIOU_WEIGHT * generalized_box_iou_loss(boxes, wanted, reduction="sum")
    else:
        distance = F.smooth_l1_loss(
            said, encode(references, wanted, stds), reduction="sum", beta=1.0 if kind == "smooth_l1" else 0.0
        )
    count = max(1, len(labels))
    return classification / count, distance / count


def mask_loss(logits: Tensor, regions: Sequence[SampledRegions], truths: Sequence[GroundTruth]) -> Tensor:
    """Mean binary cross-entropy of the masks (P, K, M, M) of regions with an object, each in its class's channel."""
    labels = torch.cat([truth.labels[region.objects] for region, truth in zip(regions, truths, strict=True)])
    if not len(labels):
        return logits.sum() * 0  # so that every process has a gradient of every parameter
    targets = torch.cat([mask_targets(*pair, logits.shape[-1]) for pair in zip(regions, truths, strict=True)])
    said = logits[torch.arange(len(labels), device=labels.device), labels]
    return F.binary_cross_entropy_with_logits(said.float(), targets)


def mask_targets(regions: SampledRegions, truth: GroundTruth, size: int) -> Tensor:
    """(P, size, size) float32 of zeros and ones: each object's bitmap within its region."""
    from torchvision.ops import roi_align

    assert truth.masks is not None
    boxes = regions.boxes[: len(regions.objects)]
    used, place = regions.objects.unique(return_inverse=True)  # of a thousand masks few are needed
    rois = with_image_numbers([boxes])
    rois[:, 0] = place
    soft = roi_align(truth.masks[used, None].float(), rois, size, sampling_ratio=0, aligned=True)
    return (soft[:, 0] >= 0.5).float()
