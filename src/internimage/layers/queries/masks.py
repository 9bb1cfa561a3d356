"""Masks as products of queries and pixels (Mask2Former, 2022; Mask DINO, 2023): the pixels' map, boxes, costs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.layers.convolution import ConvNorm, group_norm
from internimage.layers.queries.points import sample_points
from internimage.layers.segmentation import resize

_PIXEL_COST, _DICE_COST = 5.0, 5.0


def pixel_map_layers(finest: int, channels: int, width: int) -> tuple[ConvNorm, ConvNorm, nn.Conv2d]:
    """The layers of :func:`pixel_map`: from ``finest`` channels over ``channels`` to ``width``."""
    lateral = ConvNorm(finest, channels, 1, norm=group_norm, relu=False)
    return lateral, ConvNorm(channels, channels, 3, norm=group_norm), nn.Conv2d(channels, width, 1)


def pixel_map(lateral: nn.Module, output: nn.Module, last: nn.Module, finest: Tensor, coarse: Tensor) -> Tensor:
    """The map that masks are read from: the finest map and a coarser one of the encoder together.

    Args:
        lateral, output, last: see :func:`pixel_map_layers`.
        finest: (N, F, H, W).
        coarse: (N, C, H', W').

    Returns:
        (N, width, H, W).
    """
    fine = lateral(finest)
    result: Tensor = last(output(fine + resize(coarse, fine.shape[2:])))
    return result


class PixelMap(nn.Module):
    """:func:`pixel_map` as a module."""

    def __init__(self, finest: int, channels: int, width: int) -> None:
        super().__init__()
        self.lateral, self.output, self.last = pixel_map_layers(finest, channels, width)

    def forward(self, finest: Tensor, coarse: Tensor) -> Tensor:
        return pixel_map(self.lateral, self.output, self.last, finest, coarse)


def mask_costs(found: Tensor, wanted: Tensor) -> Tensor:
    """What it costs that a query learns an object's mask: (Q, G), cross-entropy and dice, five times each.

    Args:
        found: (Q, P) logits of masks at points.
        wanted: (G, P) values of the objects' masks at the same points, 0 to 1.

    Cheng et al., Mask2Former (2022), section 3.3.
    """
    entropy = (F.softplus(found).sum(1)[:, None] - found @ wanted.T) / found.shape[1]
    chance = found.sigmoid()
    both = 2 * chance @ wanted.T + 1
    dice = 1 - both / (chance.sum(1)[:, None] + wanted.sum(1) + 1)
    return _PIXEL_COST * entropy + _DICE_COST * dice


def mask_boxes(masks: Tensor) -> Tensor:
    """The boxes (..., 4) int64 around bitmaps (..., H, W): xyxy, edges of pixels; zeros around nothing."""
    ends = []
    for inside in (masks.any(-2), masks.any(-1)):
        place = torch.arange(inside.shape[-1], device=masks.device)
        first = torch.where(inside, place, inside.shape[-1]).amin(-1)
        beyond = torch.where(inside, place + 1, 0).amax(-1)
        ends.append((torch.minimum(first, beyond), beyond))
    (left, right), (top, bottom) = ends
    return torch.stack([left, top, right, bottom], dim=-1)


def masks_in_boxes(masks: Tensor, boxes: Tensor, size: int) -> Tensor:
    """What of masks (K, H, W) lies in boxes (K, 4), xyxy as shares of the map: (K, size, size), bilinear."""
    share = (torch.arange(size, dtype=torch.float32, device=boxes.device) + 0.5) / size
    first, extent = boxes[:, :2, None], (boxes[:, 2:] - boxes[:, :2])[..., None]
    x, y = (first + share * extent).unbind(1)  # (K, size) each
    places = torch.stack([x[:, None].expand(-1, size, -1), y[..., None].expand(-1, -1, size)], dim=-1)
    return sample_points(masks, places.flatten(1, 2)).unflatten(1, (size, size))
