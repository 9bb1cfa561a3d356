"""Multi-scale deformable attention in plain PyTorch: runs on every device without compiled code of ours.

Forward and backward are those of the deformable convolution (``convolution_torch``): sums of weighted rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from internimage.ops.convolution_torch import add_rows, row_products, sum_rows
from internimage.ops.sampling import WeightedSamples


@dataclass
class _Points(WeightedSamples):
    """The samples of a call, (N, Q, M, L, P) each, in the accumulation dtype."""

    corners: Tensor  # (..., 4) rows of the padded value: top left, top right, bottom left, bottom right
    size: tuple[Tensor, Tensor]  # (L, 1) height and width of each level


def _rows(value: Tensor, accumulate: torch.dtype) -> Tensor:
    """Rows (N * S * M + 1, D); the last is zero and stands for every pixel that does not exist."""
    rows = value.to(accumulate).reshape(-1, value.shape[-1])
    return torch.cat((rows, rows.new_zeros(1, rows.shape[1])))


def _points(value: Tensor, location: Tensor, weight: Tensor, shapes: Sequence[int]) -> _Points:
    batch, pixels, heads, _ = value.shape
    accumulate = torch.float64 if location.dtype == torch.float64 else torch.float32
    device = value.device
    sizes = torch.tensor(shapes, dtype=torch.int64, device=device).view(-1, 2)
    height, width = (sizes[:, axis].view(-1, 1) for axis in (0, 1))
    start = (sizes.prod(1).cumsum(0) - sizes.prod(1)).view(-1, 1)
    x = location[..., 0].to(accumulate) * width - 0.5
    y = location[..., 1].to(accumulate) * height - 0.5
    inside = (x > -1) & (x < width) & (y > -1) & (y < height)
    x, y = (torch.where(inside, position, 0) for position in (x, y))
    column, row = x.floor(), y.floor()
    fraction_x, fraction_y = x - column, y - row
    column, row = column.long(), row.long()
    image = torch.arange(batch, device=device).view(-1, 1, 1, 1, 1)
    head = torch.arange(heads, device=device).view(1, 1, -1, 1, 1)
    corners = []
    for at_row in (row, row + 1):
        for at_column in (column, column + 1):
            exists = inside & (at_row >= 0) & (at_row < height) & (at_column >= 0) & (at_column < width)
            pixel = image * pixels + start + at_row * width + at_column
            corners.append(torch.where(exists, pixel * heads + head, batch * pixels * heads))
    return _Points(fraction_y, fraction_x, weight.to(accumulate), torch.stack(corners, -1), (height, width))


def attention_forward(value: Tensor, location: Tensor, weight: Tensor, shapes: Sequence[int]) -> Tensor:
    """Output (N, Q, M * D) in the value's dtype, accumulated in float32 (float64 for float64 locations)."""
    points = _points(value, location, weight, shapes)
    per_bag = 4 * location.shape[3] * location.shape[4]
    rows = _rows(value, points.weight.dtype)
    output = sum_rows(rows, points.corners.view(-1, per_bag), points.corner_weights().view(-1, per_bag))
    return output.view(value.shape[0], location.shape[1], value.shape[2] * value.shape[3]).to(value.dtype)


def attention_backward(
    grad_output: Tensor, value: Tensor, location: Tensor, weight: Tensor, shapes: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, location and weight, each in the dtype and shape of its tensor."""
    points = _points(value, location, weight, shapes)
    rows = _rows(value, points.weight.dtype)
    grad = grad_output.reshape(-1, value.shape[-1]).to(rows.dtype)
    per_bag = 4 * location.shape[3] * location.shape[4]
    grad_rows = torch.zeros_like(rows)
    if grad.shape[0]:
        add_rows(grad_rows, points.corners.view(-1, per_bag), points.corner_weights(), grad)
    products = row_products(rows, points.corners.view(-1, per_bag), grad).view(points.corners.shape)
    grad_x, grad_y, grad_weight = points.gradients(products)
    height, width = points.size
    return (
        grad_rows[:-1].view(value.shape).to(value.dtype),
        torch.stack((grad_x * width, grad_y * height), -1).to(location.dtype),
        grad_weight.to(weight.dtype),
    )
