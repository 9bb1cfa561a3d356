"""The operators spelled out in standard ones around ``grid_sample``, for exporters and benchmarks.

Slower than the kernels and less exact, because ``grid_sample`` takes normalised coordinates (8e-5 at 200x304,
``internimage benchmark op``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.ops.geometry import SamplingGeometry

_spelled_out = ContextVar("spelled_out", default=False)


@contextlib.contextmanager
def standard_operators() -> Iterator[None]:
    """Within, the operators are spelled out in standard ones."""
    token = _spelled_out.set(True)
    try:
        yield
    finally:
        _spelled_out.reset(token)


def spelled_out() -> bool:
    """Whether they are: within :func:`standard_operators`, and where ``torch.onnx.export`` looks."""
    if not torch.compiler.is_dynamo_compiling() and _spelled_out.get():  # Dynamo of torch 2.10 follows no ContextVar
        return True
    return torch.onnx.is_in_onnx_export()


def convolution_standard(
    input: Tensor, offset: Tensor, mask: Tensor, geometry: SamplingGeometry, softmax: bool
) -> Tensor:
    """:func:`internimage.ops.dcnv3` in standard operators, any batch and image size."""
    batch, in_height, in_width, channels = input.shape
    out_height, out_width = offset.shape[1:3]
    groups, points = geometry.groups, geometry.points
    single = input.float()
    if softmax:
        mask = mask.float().unflatten(-1, (groups, points)).softmax(-1)
    tap_y, tap_x = geometry.taps(torch.float32, input.device)
    offset = offset.float().reshape(batch, out_height, out_width, groups, points, 2)
    centre_y, centre_x = geometry.centre()
    # arange, not linspace: the latter freezes a symbolic length
    row = torch.arange(out_height, device=input.device) * geometry.stride[0] + (centre_y - geometry.padding[0])
    column = torch.arange(out_width, device=input.device) * geometry.stride[1] + (centre_x - geometry.padding[1])
    y = row.view(1, -1, 1, 1, 1) + tap_y + offset[..., 1] * geometry.offset_scale
    x = column.view(1, 1, -1, 1, 1) + tap_x + offset[..., 0] * geometry.offset_scale
    grid = torch.stack(((2 * x + 1) / in_width - 1, (2 * y + 1) / in_height - 1), -1)
    grid = grid.permute(0, 3, 1, 2, 4, 5).reshape(batch * groups, out_height * out_width, points, 2)
    image = single.permute(0, 3, 1, 2).reshape(batch * groups, channels // groups, in_height, in_width)
    sampled = F.grid_sample(image, grid, padding_mode="zeros", align_corners=False)
    weight = mask.float().reshape(batch, out_height * out_width, groups, points).transpose(1, 2)
    output = (sampled * weight.reshape(batch * groups, 1, out_height * out_width, points)).sum(-1)
    output = output.reshape(batch, channels, out_height * out_width).transpose(1, 2)
    return output.reshape(batch, out_height, out_width, channels).to(input.dtype)


def attention_standard(value: Tensor, location: Tensor, weight: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
    """:func:`internimage.ops.ms_deform_attn` in standard operators."""
    batch, _, heads, depth = value.shape
    queries, points = location.shape[1], location.shape[4]
    parts = value.float().split([height * width for height, width in shapes], 1)
    grids = (2 * location.float() - 1).permute(3, 0, 2, 1, 4, 5).unbind(0)
    sampled = []
    for (height, width), part, grid in zip(shapes, parts, grids, strict=True):
        image = part.permute(0, 2, 3, 1).reshape(batch * heads, depth, height, width)
        grid = grid.reshape(batch * heads, queries, points, 2)
        sampled.append(F.grid_sample(image, grid, padding_mode="zeros", align_corners=False))
    by_head = weight.float().transpose(1, 2).reshape(batch * heads, 1, queries, len(sampled) * points)
    output = (torch.cat(sampled, -1) * by_head).sum(-1)
    return output.reshape(batch, heads * depth, queries).transpose(1, 2).to(value.dtype)
