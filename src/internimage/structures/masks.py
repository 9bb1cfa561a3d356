"""Masks within boxes as bitmaps of the whole image."""

from __future__ import annotations

from math import ceil, floor

import torch
import torch.nn.functional as F
from torch import Tensor


def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """Soft masks (R, M, M) of boxes (R, 4) as bitmaps (R, H, W) of the whole image; bilinear, never rounding a box."""
    height, width = size
    bitmaps = torch.zeros(len(masks), height, width, dtype=torch.bool, device=masks.device)
    for bitmap, mask, box in zip(bitmaps, masks, boxes.tolist(), strict=True):
        left, top = max(0, floor(box[0]) - 1), max(0, floor(box[1]) - 1)
        right, bottom = min(width, ceil(box[2]) + 1), min(height, ceil(box[3]) + 1)
        if right <= left or bottom <= top:
            continue
        x = _positions(left, right, box[0], box[2], mask)
        y = _positions(top, bottom, box[1], box[3], mask)
        grid = torch.stack([x.expand(len(y), len(x)), y[:, None].expand(len(y), len(x))], dim=-1)
        soft = F.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]
        bitmap[top:bottom, left:right] = soft >= threshold
    return bitmaps


def _positions(start: int, stop: int, low: float, high: float, like: Tensor) -> Tensor:
    """Pixel centres in the coordinates of ``grid_sample``; a box without extent is all at its middle."""
    centres = torch.arange(start, stop, device=like.device, dtype=torch.float32) + 0.5
    places = (centres - low) / (high - low) * 2 - 1 if high != low else torch.zeros_like(centres)
    return places.to(like.dtype)
