"""Losses between sets of masks: which prediction learns which object, and where the masks are compared."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.errors import MissingExtraError

_CLASS_COST, _PIXEL_COST, _DICE_COST = 2.0, 5.0, 5.0
_POINTS = 12_544  # 112 x 112
_OVERSAMPLING = 3
_HARD = 0.75  # share of points that are the least certain ones


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest pairs of rows and columns of ``cost`` (Q, G), each used once at most: indices, by row.

    Kuhn, The Hungarian method for the assignment problem (1955).
    """
    try:
        from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("matching needs scipy: pip install 'internimage[segmentation]'") from error
    rows, columns = linear_sum_assignment(cost.detach().float().cpu().numpy())
    return torch.from_numpy(rows).to(cost.device), torch.from_numpy(columns).to(cost.device)


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
