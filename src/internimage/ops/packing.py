"""DCNv4's tensor of offsets and weights: for each group its 2P offsets x, y, x, y ..., then its P weights.

Numbers beyond 3 G P, which round the width up to a multiple of eight in the released models, are read by nobody.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.ops.geometry import SamplingGeometry


def split_packed(packed: Tensor, geometry: SamplingGeometry) -> tuple[Tensor, Tensor]:
    """Offset (N, Ho, Wo, 2GP) and weight (N, Ho, Wo, GP), laid out as for DCNv3."""
    groups, points = geometry.groups, geometry.points
    blocks = packed[..., : 3 * groups * points].unflatten(-1, (groups, 3 * points))
    return blocks[..., : 2 * points].flatten(-2), blocks[..., 2 * points :].flatten(-2)


def join_packed(offset: Tensor, weight: Tensor, groups: int, width: int | None = None) -> Tensor:
    """The reverse of :func:`split_packed`, padded with zeros to ``width`` if it is given."""
    packed = torch.cat((offset.unflatten(-1, (groups, -1)), weight.unflatten(-1, (groups, -1))), -1).flatten(-2)
    return packed if width is None else F.pad(packed, (0, width - packed.shape[-1]))
