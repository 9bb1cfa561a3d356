"""Multi-scale deformable attention, of Deformable DETR, DINO, Mask2Former and the driving models: public function."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from internimage.errors import OperatorError
from internimage.ops import registration  # noqa: F401  (defines torch.ops.internimage.ms_deform_attn)
from internimage.ops.standard import attention_standard, spelled_out


def ms_deform_attn(value: Tensor, shapes: Sequence[tuple[int, int]], location: Tensor, weight: Tensor) -> Tensor:
    """Sum samples of several feature maps, taken anywhere in them, with given weights.

    Args:
        value: (N, S, M, D): the pixels of all levels one after the other, row by row; M heads of D channels.  float64,
            float32, bfloat16 or float16.
        shapes: (height, width) of each of L levels; their areas add up to S.
        location: (N, Q, M, L, P, 2) points (x, y) in [0, 1] of a level, 0 and 1 being the outer edges of its border
            pixels.  Points beyond sample zeros.
        weight: (N, Q, M, L, P), usually a softmax over L and P.

    Returns:
        (N, Q, M * D) in the dtype of ``value``: for each query and head, the sum over levels and points of weight times
        bilinear sample, as ``grid_sample(align_corners=False, padding_mode="zeros")`` takes it.  Coordinates and sums
        are float32 (float64 for float64 locations); half-precision locations are accepted but tell
        neighbouring pixels of a large level badly apart.

    Raises:
        OperatorError: shapes, dtypes or devices do not fit together.

    Source: Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection", ICLR 2021,
    section 4.1, equation 3.
    """
    for name, tensor, layout in (
        ("value", value, "(N, S, M, D)"),
        ("location", location, "(N, Q, M, L, P, 2)"),
        ("weight", weight, "(N, Q, M, L, P)"),
    ):
        if not tensor.is_floating_point() or tensor.dim() != layout.count(",") + 1:
            raise OperatorError(
                f"ms_deform_attn: {name} is {tuple(tensor.shape)} {tensor.dtype}; expected a floating tensor {layout}"
            )
        if tensor.device != value.device:
            raise OperatorError(
                f"ms_deform_attn: {name} is on {tensor.device}, value on {value.device}; move them together"
            )
    sizes = [(height, width) for height, width in shapes]
    batch, pixels, heads, _ = value.shape
    if not sizes or sum(height * width for height, width in sizes) != pixels:
        raise OperatorError(f"ms_deform_attn: value has {pixels} pixels, but the shapes {sizes} do not add up to that")
    expected = batch, location.shape[1], heads, len(sizes), location.shape[4]
    for name, found in (("location", tuple(location.shape[:-1])), ("weight", tuple(weight.shape))):
        if found != expected:
            raise OperatorError(
                f"ms_deform_attn: {name} is {found}{' + (2,)' if name == 'location' else ''}; expected {expected} for "
                f"value {tuple(value.shape)}, {len(sizes)} levels"
            )
    if location.shape[4] < 1:
        raise OperatorError(f"ms_deform_attn: location {tuple(location.shape)} has no points; expected at least one")
    if location.shape[-1] != 2:
        raise OperatorError(f"ms_deform_attn: location ends in {location.shape[-1]} numbers; expected 2, x and y")
    if spelled_out():
        return attention_standard(value, location, weight, sizes)
    place = torch.promote_types(torch.promote_types(location.dtype, weight.dtype), torch.float32)
    flat = [extent for size in sizes for extent in size]
    return torch.ops.internimage.ms_deform_attn(
        value.contiguous(), location.to(place).contiguous(), weight.to(place).contiguous(), flat
    )
