"""Multi-scale deformable attention as its formula reads: the definition that implementations are held to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def attention_reference(value: Tensor, location: Tensor, weight: Tensor, shapes: Sequence[int]) -> Tensor:
    """``output[n, q, m] = sum over levels l and points p of weight * bilinear(value of level l, location)``.

    Shapes as in :func:`internimage.ops.ms_deform_attn`.  Position x of a level is ``location_x * width - 0.5``; pixels
    outside a level are zeros, and a point on or beyond -1 or the level's size contributes nothing.
    """
    batch, _, heads, depth = value.shape
    queries = location.shape[1]
    accumulate = torch.float64 if location.dtype == torch.float64 else torch.float32
    sizes = torch.tensor(shapes, dtype=torch.int64, device=value.device).view(-1, 2)
    height, width = (sizes[:, axis].view(-1, 1) for axis in (0, 1))
    start = (sizes.prod(1).cumsum(0) - sizes.prod(1)).view(-1, 1)
    x = location[..., 0].to(accumulate) * width - 0.5
    y = location[..., 1].to(accumulate) * height - 0.5
    inside = (x > -1) & (x < width) & (y > -1) & (y < height)  # false for NaN
    x, y = (torch.where(inside, position, 0) for position in (x, y))
    column, row = x.detach().floor(), y.detach().floor()
    fraction_x, fraction_y = x - column, y - row
    column, row = column.long(), row.long()
    image = torch.arange(batch, device=value.device).view(-1, 1, 1, 1, 1)
    head = torch.arange(heads, device=value.device).view(1, 1, -1, 1, 1)
    output = torch.zeros(batch, queries, heads, depth, dtype=accumulate, device=value.device)
    for at_row, weight_y in ((row, 1 - fraction_y), (row + 1, fraction_y)):
        for at_column, weight_x in ((column, 1 - fraction_x), (column + 1, fraction_x)):
            exists = inside & (at_row >= 0) & (at_row < height) & (at_column >= 0) & (at_column < width)
            pixel = torch.where(exists, start + at_row * width + at_column, 0)
            # where(), not a product: a pixel that holds inf must not leak into samples outside as NaN
            sampled = torch.where(exists.unsqueeze(-1), value[image, pixel, head].to(accumulate), 0)
            output = output + (sampled * (weight * weight_y * weight_x).unsqueeze(-1)).sum((3, 4))
    return output.flatten(2).to(value.dtype)
