"""DCNv3 in plain PyTorch, fast: runs on every device without compiled code of ours.

Forward: bilinear sampling is a sum of 4P weighted rows of the channels-last image, which is what
``embedding_bag`` computes; 2-4 times faster on a CPU than ``grid_sample`` and without its rounding of normalised
coordinates.  Backward: the same rows give the scalar products from which the gradients of offset and mask
follow in closed form; the gradient of the input is again a weighted sum of rows, of the output's gradient this time,
gathered per input pixel after a stable sort, so that the result is deterministic and needs no atomics.

Work is cut into chunks of output pixels to bound memory whatever the image size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.ops.geometry import SamplingGeometry
from internimage.ops.sampling import WeightedSamples, sample_positions

# Samples (pixels x groups x points) of a chunk: the index and weight tables then stay in a CPU's cache, while a
# GPU gets enough work for a launch.
CHUNK_SAMPLES = {"cpu": 1 << 18, "cuda": 1 << 22}
# A zero border makes every corner of every sample that touches the image a valid row, and two zero rows and columns at
# the start hold all four corners of the samples that do not touch it.
_BORDER_BEFORE, _BORDER_AFTER = 2, 1


@dataclass
class _Samples(WeightedSamples):
    """Samples (pixels, G, P) of one chunk of ``pixels`` output pixels."""

    first: int
    last: int
    corners: Tensor  # (pixels, G, P, 4) row numbers in the padded image: top left, top right, bottom left, bottom right


def _padded_rows(input: Tensor, groups: int) -> Tensor:
    """The zero-bordered image as (N * (H+3) * (W+3) * G, D) rows in the accumulation dtype."""
    accumulate = torch.float64 if input.dtype == torch.float64 else torch.float32
    before, after = _BORDER_BEFORE, _BORDER_AFTER
    padded = F.pad(input.to(accumulate), (0, 0, before, after, before, after))
    return padded.reshape(-1, input.shape[-1] // groups)


def _samples(input: Tensor, offset: Tensor, mask: Tensor, geometry: SamplingGeometry) -> Iterator[_Samples]:
    batch, in_height, in_width, _ = input.shape
    size = geometry.output_size(in_height, in_width)
    groups, points, device = geometry.groups, geometry.points, input.device
    padded_height, padded_width = (s + _BORDER_BEFORE + _BORDER_AFTER for s in (in_height, in_width))
    rows = batch * padded_height * padded_width * groups
    index = torch.int32 if rows < 2**31 else torch.int64
    group = torch.arange(groups, dtype=index, device=device).view(1, -1, 1)
    step = torch.tensor((0, groups, padded_width * groups, (padded_width + 1) * groups), dtype=index, device=device)
    pixels = batch * size[0] * size[1]
    offset = offset.reshape(pixels, groups, points, 2)
    mask = mask.reshape(pixels, groups, points)
    chunk = max(1, CHUNK_SAMPLES.get(device.type, 1 << 20) // (groups * points))
    for first in range(0, pixels, chunk):
        last = min(first + chunk, pixels)
        at = sample_positions(offset[first:last], geometry, first, (in_height, in_width), size, index)
        row = torch.where(at.inside, at.row, -_BORDER_BEFORE) + _BORDER_BEFORE
        column = torch.where(at.inside, at.column, -_BORDER_BEFORE) + _BORDER_BEFORE
        image = torch.arange(first, last, device=device).div(size[0] * size[1], rounding_mode="floor")
        row = row + image.to(index).view(-1, 1, 1) * padded_height
        corner = (row * padded_width + column) * groups + group
        yield _Samples(
            first=first * groups,
            last=last * groups,
            corners=corner.unsqueeze(-1) + step,
            fraction_y=torch.where(at.inside, at.fraction_y, 0),
            fraction_x=torch.where(at.inside, at.fraction_x, 0),
            weight=mask[first:last].to(at.fraction_y.dtype),
        )


def sum_rows(rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """``out[b] = sum_k weight[b, k] * rows[index[b, k]]`` for (B, K) tables."""
    return F.embedding_bag(index, rows, per_sample_weights=weight.to(rows.dtype), mode="sum")


def convolution_forward(input: Tensor, offset: Tensor, mask: Tensor, geometry: SamplingGeometry) -> Tensor:
    """Output (N, Ho, Wo, C) in the input's dtype, accumulated in float32 (float64 for float64)."""
    batch, in_height, in_width, channels = input.shape
    rows = _padded_rows(input, geometry.groups)
    size = geometry.output_size(in_height, in_width)
    output = input.new_empty(batch * size[0] * size[1] * geometry.groups, channels // geometry.groups)
    per_bag = 4 * geometry.points
    for part in _samples(input, offset, mask, geometry):
        output[part.first : part.last] = sum_rows(
            rows, part.corners.view(-1, per_bag), part.corner_weights().view(-1, per_bag)
        )
    return output.view(batch, *size, channels)


def convolution_backward(
    grad_output: Tensor, input: Tensor, offset: Tensor, mask: Tensor, geometry: SamplingGeometry
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of input, offset and mask, each in the dtype and shape of its tensor."""
    groups, points = geometry.groups, geometry.points
    channels = input.shape[-1] // groups
    rows = _padded_rows(input, groups)
    grad_rows = torch.zeros_like(rows)
    grad = grad_output.reshape(-1, channels).to(rows.dtype)
    grad_offset = torch.empty_like(offset, memory_format=torch.contiguous_format).view(-1, points, 2)
    grad_mask = torch.empty_like(mask, memory_format=torch.contiguous_format).view(-1, points)
    for part in _samples(input, offset, mask, geometry):
        part_grad = grad[part.first : part.last]
        weights = part.corner_weights()
        add_rows(grad_rows, part.corners, weights, part_grad)

        products = row_products(rows, part.corners.view(-1, 4 * points), part_grad)
        grad_x, grad_y, grad_weight = part.gradients(products.view(*weights.shape))
        shift = torch.stack((grad_x, grad_y), -1) * geometry.offset_scale
        grad_offset[part.first : part.last] = shift.view(-1, points, 2)
        grad_mask[part.first : part.last] = grad_weight.view(-1, points)
    batch, height, width, _ = input.shape
    before, after = _BORDER_BEFORE, _BORDER_AFTER
    grad_image = grad_rows.view(batch, height + before + after, width + before + after, input.shape[-1])
    grad_input = grad_image[:, before:-after, before:-after].to(input.dtype).contiguous()
    return grad_input, grad_offset.view(offset.shape), grad_mask.view(mask.shape)


def row_products(rows: Tensor, index: Tensor, grad: Tensor) -> Tensor:
    """``out[b, k] = <rows[index[b, k]], grad[b]>``: the gradient of :func:`sum_rows` by its weights.

    PyTorch's own kernel for that gradient, called directly: an operator's kernel runs below autograd and cannot use it.
    """
    bags, terms = index.shape
    offsets = torch.arange(0, bags * terms, terms, dtype=index.dtype, device=index.device)
    bag = torch.arange(bags, dtype=index.dtype, device=index.device).repeat_interleave(terms)
    mode_sum = 0
    products = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        grad, rows, index.flatten(), offsets, bag, mode_sum
    )
    return products.view(bags, terms)


def add_rows(target: Tensor, index: Tensor, weight: Tensor, grad: Tensor) -> None:
    """``target[index[b, k]] += weight[b, k] * grad[b]`` with every target row written once, in a fixed order."""
    terms = index.numel() // grad.shape[0]
    ordered, order = torch.sort(index.flatten(), stable=True)
    touched, count = torch.unique_consecutive(ordered, return_counts=True)
    start = count.cumsum(0) - count
    source = order.div(terms, rounding_mode="floor")
    summed = F.embedding_bag(
        source, grad, offsets=start, per_sample_weights=weight.flatten()[order].to(grad.dtype), mode="sum"
    )
    target.index_add_(0, touched.to(torch.int64), summed)
