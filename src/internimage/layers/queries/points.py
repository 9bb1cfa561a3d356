"""Points at which masks are compared (Cheng et al., Mask2Former, 2022, section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

POINTS = 12_544  # 112 x 112
_OVERSAMPLING = 3
_HARD = 0.75  # share of points that are the least certain ones


def random_points(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Points (x, y), uniform in the unit square: (*shape, 2)."""
    return torch.rand(*shape, 2, device=device)


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Values (N, P) of maps (N, H, W) at points (N, P, 2), shares of width and height; bilinear, zero outside."""
    sampled = F.grid_sample(maps[:, None], 2 * points[:, None] - 1, align_corners=False)
    return sampled[:, 0, 0]


def uncertain_points(masks: Tensor) -> Tensor:
    """Points (G, P, 2), three quarters of them where masks (G, H, W), logits, are least certain."""
    candidates = random_points((len(masks), POINTS * _OVERSAMPLING), masks.device)
    certainty = sample_points(masks, candidates).abs()
    hard = int(_HARD * POINTS)
    chosen = certainty.topk(hard, largest=False).indices
    picked = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    return torch.cat([picked, random_points((len(masks), POINTS - hard), masks.device)], dim=1)
