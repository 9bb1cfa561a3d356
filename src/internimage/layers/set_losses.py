"""Losses between sets of boxes or masks: which prediction learns which object, and where masks are compared."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.errors import MissingExtraError

_CLASS_COST, _PIXEL_COST, _DICE_COST = 2.0, 5.0, 5.0
_BOX_COST, _OVERLAP_COST = 5.0, 2.0
_BOX_WEIGHT, _OVERLAP_WEIGHT = 5.0, 2.0
_ALPHA, _GAMMA = 0.25, 2.0
_TINY = 1e-12
_POINTS = 12_544  # 112 x 112
_OVERSAMPLING = 3
_PROHIBITIVE = 1e8  # cost of a pair with a prediction that is not finite
_HARD = 0.75  # share of points that are the least certain ones


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest pairs of rows and columns of ``cost`` (Q, G), each used once at most: indices, by row.

    Costs that are not finite are the highest: the losses of such predictions are not finite either, and whoever looks
    at those decides.  Kuhn, The Hungarian method for the assignment problem (1955).
    """
    try:
        from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("matching needs scipy: pip install 'internimage[detection,segmentation]'") from error
    cost = cost.detach().float().nan_to_num(_PROHIBITIVE, _PROHIBITIVE, -_PROHIBITIVE)
    rows, columns = linear_sum_assignment(cost.cpu().numpy())
    return torch.from_numpy(rows).to(cost.device), torch.from_numpy(columns).to(cost.device)


def mean_over_processes(count: Tensor) -> Tensor:
    """A number of objects, as the mean over all processes that train together."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return count
    torch.distributed.all_reduce(count)
    return count / torch.distributed.get_world_size()


def random_points(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Points (x, y), uniform in the unit square: (*shape, 2)."""
    return torch.rand(*shape, 2, device=device)


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Values (N, P) of maps (N, H, W) at points (N, P, 2), shares of width and height; bilinear, zero outside."""
    sampled = F.grid_sample(maps[:, None], 2 * points[:, None] - 1, align_corners=False)
    return sampled[:, 0, 0]


def match_masks(logits: Tensor, masks: Tensor, labels: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and the objects of one image that they learn, by query.

    Args:
        logits: (Q, K + 1) of classes.
        masks: (Q, H, W) logits.
        labels: (G,) classes of the objects.
        truth: (G, H', W') their masks.

    Cheng et al., Mask2Former (2022), section 3.3: masks are compared in random points, the same for all.
    """
    points = random_points((1, _POINTS), masks.device)
    if not len(labels):
        return labels, labels
    found = sample_points(masks.float(), points.expand(len(masks), -1, -1))
    wanted = sample_points(truth.to(found.dtype), points.expand(len(truth), -1, -1))
    cost = -_CLASS_COST * logits.float().softmax(-1)[:, labels]
    missed, seen = F.softplus(-found), F.softplus(found)
    cost = cost + _PIXEL_COST * (missed @ wanted.T + seen @ (1 - wanted).T) / _POINTS
    probability = found.sigmoid()
    both = 2 * probability @ wanted.T + 1
    cost = cost + _DICE_COST * (1 - both / (probability.sum(1)[:, None] + wanted.sum(1) + 1))
    return assign(cost)


def mask_losses(masks: Tensor, truth: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and dice loss of matched masks (G, H, W), logits, with the true ones (G, H', W').

    Three quarters of the points are those where the masks are least certain.  ``count`` is the number of objects that
    the sums are divided by.
    """
    if not len(masks):
        return masks.sum(), masks.sum()
    with torch.no_grad():
        points = _uncertain_points(masks)
        wanted = sample_points(truth.to(masks.dtype), points)
    found = sample_points(masks, points)
    pixels = F.binary_cross_entropy_with_logits(found, wanted, reduction="sum") / (_POINTS * count)
    probability = found.sigmoid()
    both = 2 * (probability * wanted).sum(1) + 1
    dice = (1 - both / (probability.sum(1) + wanted.sum(1) + 1)).sum() / count
    return pixels, dice


def _uncertain_points(masks: Tensor) -> Tensor:
    candidates = random_points((len(masks), _POINTS * _OVERSAMPLING), masks.device)
    certainty = sample_points(masks, candidates).abs()
    hard = int(_HARD * _POINTS)
    chosen = certainty.topk(hard, largest=False).indices
    picked = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    return torch.cat([picked, random_points((len(masks), _POINTS - hard), masks.device)], dim=1)


def corners(boxes: Tensor) -> Tensor:
    """Boxes (..., 4) of centre and size as x1, y1, x2, y2."""
    centre, size = boxes.chunk(2, dim=-1)
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def match_boxes(logits: Tensor, boxes: Tensor, labels: Tensor, truth: Tensor, extent: Tensor) -> Tensor:
    """The object that each query of each layer learns: (L, Q) int64, -1 for none.

    Args:
        logits: (L, Q, K) of classes.
        boxes: (L, Q, 4) centre and size, as shares of the image.
        labels: (G,) classes of the objects of the image.
        truth: (G, 4) their boxes, likewise.
        extent: (4,) width, height, width, height of the image in pixels.

    Zhang et al., DINO (2023), with the costs of Deformable DETR: focal loss, distance, generalised overlap.
    """
    from torchvision.ops import generalized_box_iou

    layers, queries = logits.shape[:2]
    result = torch.full((layers, queries), -1, dtype=torch.int64, device=logits.device)
    if not len(labels):
        return result
    found = boxes.float().flatten(0, 1)
    chance = logits.float().flatten(0, 1).sigmoid()[:, labels]
    hit = -(chance + _TINY).log() * _ALPHA * (1 - chance) ** _GAMMA
    miss = -(1 - chance + _TINY).log() * (1 - _ALPHA) * chance**_GAMMA
    cost = _CLASS_COST * (hit - miss) + _BOX_COST * torch.cdist(found, truth, p=1)
    cost = cost - _OVERLAP_COST * generalized_box_iou(corners(found) * extent, corners(truth) * extent)
    for layer, costs in enumerate(cost.unflatten(0, (layers, queries)).cpu()):
        rows, columns = assign(costs)
        result[layer, rows.to(result.device)] = columns.to(result.device)
    return result


def set_box_losses(
    logits: Tensor, boxes: Tensor, objects: Tensor, labels: Tensor, truth: Tensor, extents: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Focal loss, distance and generalised overlap of predictions and the objects that they learn: (L,) each.

    The sums of a layer are divided by the objects that it learns, the mean over all processes.

    Args:
        logits: (L, N, Q, K).
        boxes: (L, N, Q, 4) centre and size, as shares of the image.
        objects: (L, N, Q) index into ``labels`` and ``truth``, -1 for none; as many in each layer.
        labels: (G,) classes of all objects of all images.
        truth: (G, 4) their boxes, likewise as shares.
        extents: (N, 4) width, height, width, height of each image in pixels.
    """
    from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

    layer, image, query = (objects >= 0).nonzero(as_tuple=True)
    learnt = objects[layer, image, query]
    count = mean_over_processes(logits.new_tensor(len(learnt) / len(logits), dtype=torch.float32)).clamp(min=1)
    wanted = torch.zeros_like(logits, dtype=torch.float32)
    wanted[layer, image, query, labels[learnt]] = 1.0
    focal = sigmoid_focal_loss(logits.float(), wanted, _ALPHA, _GAMMA).sum((1, 2, 3))
    found, true, extent = boxes[layer, image, query].float(), truth[learnt], extents[image]
    distance = F.l1_loss(found, true, reduction="none").sum(1)
    overlap = generalized_box_iou_loss(corners(found) * extent, corners(true) * extent)
    zeros = torch.zeros_like(focal)
    return (
        focal / count,
        _BOX_WEIGHT * zeros.index_add(0, layer, distance) / count,
        _OVERLAP_WEIGHT * zeros.index_add(0, layer, overlap) / count,
    )
