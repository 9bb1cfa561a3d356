"""Losses between matched sets of boxes or masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.layers.boxes import cxcywh_to_xyxy
from internimage.layers.queries import points as sampling

_BOX_WEIGHT, _OVERLAP_WEIGHT = 5.0, 2.0
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0


def mean_over_processes(count: Tensor) -> Tensor:
    """A number of objects, as the mean over all processes that train together."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return count
    torch.distributed.all_reduce(count)
    return count / torch.distributed.get_world_size()


def learnt_objects(objects: Tensor) -> Tensor:
    """How many objects a layer learns, at least 1, as the mean over all processes.

    ``objects`` (L, ...) says which each query learns, -1 for none; as many in each layer.
    """
    return mean_over_processes((objects >= 0).sum(dtype=torch.float32) / len(objects)).clamp(min=1)


def mask_losses(
    masks: Tensor, truth: Tensor, objects: Tensor, count: Tensor, points: int = sampling.POINTS
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and dice loss of matched masks with the true ones, in random points.

    Three quarters of the points are those where the masks are least certain.

    Args:
        masks: (K, H, W) logits, float32.
        truth: (G, H', W') bool, masks of objects.
        objects: (K,) which of them each mask learns.
        count: number of objects that the sums are divided by.
        points: in each mask.
    """
    if not len(masks):
        return masks.sum(), masks.sum()
    with torch.no_grad():
        places = sampling.uncertain_points(masks, points)
        wanted = sampling.sample_bitmaps(truth, objects, places)
    found = sampling.sample_points(masks, places)
    pixels = F.binary_cross_entropy_with_logits(found, wanted, reduction="sum") / (points * count)
    probability = found.sigmoid()
    both = 2 * (probability * wanted).sum(1) + 1
    dice = (1 - both / (probability.sum(1) + wanted.sum(1) + 1)).sum() / count
    return pixels, dice


def set_box_losses(
    logits: Tensor, boxes: Tensor, objects: Tensor, labels: Tensor, truth: Tensor, extents: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Focal loss, distance and generalised overlap of predictions and the objects that they learn: (L,) each.

    The sums of a layer are divided by the objects that it learns, the mean over all processes.

    Args:
        logits: (L, N, Q, K).
        boxes: (L, N, Q, 4) cxcywh, as shares of the image.
        objects: (L, N, Q) index into ``labels`` and ``truth``, -1 for none; as many in each layer.
        labels: (G,) classes of all objects of all images.
        truth: (G, 4) their boxes, likewise as shares.
        extents: (N, 4) width, height, width, height of each image in pixels.
    """
    from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

    layer, image, query = (objects >= 0).nonzero(as_tuple=True)
    learnt = objects[layer, image, query]
    count = learnt_objects(objects)
    wanted = torch.zeros_like(logits, dtype=torch.float32)
    wanted[layer, image, query, labels[learnt]] = 1.0
    focal = sigmoid_focal_loss(logits.float(), wanted, FOCAL_ALPHA, FOCAL_GAMMA).sum((1, 2, 3))
    found, true, extent = boxes[layer, image, query].float(), truth[learnt], extents[image]
    distance = F.l1_loss(found, true, reduction="none").sum(1)
    overlap = generalized_box_iou_loss(cxcywh_to_xyxy(found) * extent, cxcywh_to_xyxy(true) * extent)
    zeros = torch.zeros_like(focal)
    return (
        focal / count,
        _BOX_WEIGHT * zeros.index_add(0, layer, distance) / count,
        _OVERLAP_WEIGHT * zeros.index_add(0, layer, overlap) / count,
    )
