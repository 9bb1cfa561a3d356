"""Offsets and weights of a deformable convolution in one tensor, the output of one linear layer.

Two orders are in use.  DCNv3's two predictors one after the other: all offsets, then all weights.  DCNv4's,
``interleaved``: for each group its 2P offsets, then its P weights.  Numbers beyond 3 G P are padding that nobody reads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.ops.geometry import SamplingGeometry


def split_packed(packed: Tensor, geometry: SamplingGeometry, softmax: bool, interleaved: bool) -> tuple[Tensor, Tensor]:
    """Offset (N, Ho, Wo, 2GP) and weight (N, Ho, Wo, GP), the latter after the softmax over P if there is one.

    A softmax of half precision stays in float32, as in the kernels.
    """
    groups, points = geometry.groups, geometry.points
    if interleaved:
        blocks = packed[..., : 3 * groups * points].unflatten(-1, (groups, 3 * points))
        offset, weight = blocks[..., : 2 * points].flatten(-2), blocks[..., 2 * points :]
    else:
        offset = packed[..., : 2 * groups * points]
        weight = packed[..., 2 * groups * points : 3 * groups * points].unflatten(-1, (groups, points))
    if softmax:
        weight = weight.to(torch.promote_types(weight.dtype, torch.float32)).softmax(-1)
    return offset, weight.flatten(-2)


def join_packed(offset: Tensor, weight: Tensor, width: int, geometry: SamplingGeometry, interleaved: bool) -> Tensor:
    """The reverse of :func:`split_packed` without softmax, padded with zeros to ``width``."""
    if interleaved:
        groups = geometry.groups
        blocks = torch.cat((offset.unflatten(-1, (groups, -1)), weight.unflatten(-1, (groups, -1))), -1)
        joined = blocks.flatten(-2)
    else:
        joined = torch.cat((offset, weight), -1)
    return F.pad(joined, (0, width - joined.shape[-1]))
