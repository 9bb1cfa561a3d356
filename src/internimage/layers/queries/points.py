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


def sample_maps(maps: Tensor, points: Tensor) -> Tensor:
    """As :func:`sample_points`, of maps (N, C, H, W) at the same points (P, 2) of all: (N, C, P)."""
    places = (2 * points - 1).to(maps.dtype).expand(len(maps), 1, -1, -1)
    return F.grid_sample(maps, places, align_corners=False)[:, :, 0]


def sample_bitmaps(bitmaps: Tensor, which: Tensor, points: Tensor) -> Tensor:
    """As :func:`sample_points`, of bitmaps (G, H, W), bool, in points from 0 to 1: (K, P) float32 of ``which`` (K,).

    As float32, a copy for each of ``which``, masks of one crowded photo would take a gigabyte.
    """
    height, width = bitmaps.shape[1:]
    flat = F.pad(bitmaps, (1, 1, 1, 1)).flatten()  # zeros around, so that every place has four neighbours
    x, y = (points.float() * points.new_tensor([width, height], dtype=torch.float32) + 0.5).unbind(-1)
    left, top = x.floor(), y.floor()
    corner = left.long() + top.long() * (width + 2) + which[:, None] * ((height + 2) * (width + 2))
    x, y, corner = (x - left).flatten(), (y - top).flatten(), corner.flatten()
    above, below = (
        torch.lerp(flat.index_select(0, one).float(), flat.index_select(0, one + 1).float(), x)  # faster than indexing
        for one in (corner, corner + (width + 2))
    )
    return torch.lerp(above, below, y).unflatten(0, points.shape[:2])


def uncertain_points(masks: Tensor, count: int = POINTS) -> Tensor:
    """Points (G, P, 2), three quarters of them where masks (G, H, W), logits, are least certain."""
    candidates = random_points((len(masks), count * _OVERSAMPLING), masks.device)
    certainty = sample_points(masks, candidates).abs()
    hard = int(_HARD * count)
    chosen = certainty.topk(hard, largest=False, sorted=False).indices
    picked = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    return torch.cat([picked, random_points((len(masks), count - hard), masks.device)], dim=1)
