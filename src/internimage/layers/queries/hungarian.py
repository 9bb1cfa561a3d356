"""Which query learns which object: Hungarian matching."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from internimage.errors import MissingExtraError
from internimage.layers.boxes import cxcywh_to_xyxy
from internimage.layers.queries import points as sampling
from internimage.layers.queries.losses import FOCAL_ALPHA, FOCAL_GAMMA
from internimage.layers.queries.masks import mask_costs

_CLASS_COST = 2.0
_BOX_COST, _OVERLAP_COST = 5.0, 2.0
_TINY = 1e-12
_PROHIBITIVE = 1e8  # cost of a pair with a prediction that is not finite


def hungarian(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest pairs of rows and columns of ``cost`` (Q, G), each used once at most: indices, by row.

    Costs that are not finite are the highest: the losses of such predictions are not finite either, and whoever looks
    at those decides.  Kuhn, The Hungarian method for the assignment problem (1955).
    """
    try:
        from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("matching needs scipy: pip install 'internimage[train]'") from error
    cost = cost.detach().float().nan_to_num(_PROHIBITIVE, _PROHIBITIVE, -_PROHIBITIVE)
    rows, columns = linear_sum_assignment(cost.cpu().numpy())
    return torch.from_numpy(rows).to(cost.device), torch.from_numpy(columns).to(cost.device)


def match_masks(logits: Tensor, masks: Tensor, labels: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and the objects of one image that they learn, by query.

    Args:
        logits: (Q, K + 1) of classes.
        masks: (Q, H, W) logits.
        labels: (G,) classes of the objects.
        truth: (G, H', W') their masks.

    Cheng et al., Mask2Former (2022), section 3.3: masks are compared in random points, the same for all.
    """
    points = sampling.random_points((1, sampling.POINTS), masks.device)
    if not len(labels):
        return labels, labels
    found = sampling.sample_points(masks.float(), points.expand(len(masks), -1, -1))
    wanted = sampling.sample_points(truth.to(found.dtype), points.expand(len(truth), -1, -1))
    cost = -_CLASS_COST * logits.float().softmax(-1)[:, labels]
    return hungarian(cost + mask_costs(found, wanted))


def match_boxes(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    truth: Tensor,
    extent: Tensor,
    more: Tensor | None = None,
    class_cost: float = _CLASS_COST,
) -> Tensor:
    """The object that each query of each layer learns: (L, Q) int64, -1 for none.

    Args:
        logits: (L, Q, K) of classes.
        boxes: (L, Q, 4) cxcywh, as shares of the image.
        labels: (G,) classes of the objects of the image.
        truth: (G, 4) their boxes, likewise.
        extent: (4,) width, height, width, height of the image in pixels.
        more: (L, Q, G) what else each pair costs; None for nothing.
        class_cost: weight of the focal loss.

    Zhang et al., DINO (2023), with the costs of Deformable DETR: focal loss, distance, generalised overlap.
    """
    from torchvision.ops import generalized_box_iou

    layers, queries = logits.shape[:2]
    result = torch.full((layers, queries), -1, dtype=torch.int64, device=logits.device)
    if not len(labels):
        return result
    found = boxes.float().flatten(0, 1)
    chance = logits.float().flatten(0, 1).sigmoid()[:, labels]
    hit = -(chance + _TINY).log() * FOCAL_ALPHA * (1 - chance) ** FOCAL_GAMMA
    miss = -(1 - chance + _TINY).log() * (1 - FOCAL_ALPHA) * chance**FOCAL_GAMMA
    cost = class_cost * (hit - miss) + _BOX_COST * torch.cdist(found, truth, p=1)
    cost = cost - _OVERLAP_COST * generalized_box_iou(cxcywh_to_xyxy(found) * extent, cxcywh_to_xyxy(truth) * extent)
    cost = cost.unflatten(0, (layers, queries))
    for layer, costs in enumerate((cost if more is None else cost + more).cpu()):
        rows, columns = hungarian(costs)
        result[layer, rows.to(result.device)] = columns.to(result.device)
    return result


@torch.no_grad()
def match_images(
    logits: Tensor,
    boxes: Tensor,
    labels: Sequence[Tensor],
    truth: Sequence[Tensor],
    extents: Tensor,
    more: Sequence[Tensor] | None = None,
    class_cost: float = _CLASS_COST,
) -> Tensor:
    """:func:`match_boxes` of each image: (L, N, Q) index into the objects of all images together, -1 for none.

    ``logits`` (L, N, Q, K), ``boxes`` (L, N, Q, 4); for each image a tensor of ``labels`` and ``truth``, and a row of
    ``extents``, and if there is ``more`` that pairs cost, (L, Q, G).
    """
    objects, start = [], 0
    for image, (label, box) in enumerate(zip(labels, truth, strict=True)):
        rest = None if more is None else more[image]
        learnt = match_boxes(logits[:, image], boxes[:, image], label, box, extents[image], rest, class_cost)
        objects.append(torch.where(learnt >= 0, learnt + start, -1))
        start += len(label)
    return torch.stack(objects, dim=1)
