"""DCNv3 as its formula reads: the definition that every other implementation is held to.

Differentiable to any order by autograd, written for clarity and exactness, not for speed.  Coordinates and
weights are computed in the dtype of the coordinates, at least float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from internimage.ops.geometry import SamplingGeometry
from internimage.ops.sampling import sample_positions


def convolution_reference(input: Tensor, offset: Tensor, mask: Tensor, geometry: SamplingGeometry) -> Tensor:
    """``output[n, o, g] = sum_p mask[n, o, g, p] * bilinear(input[n, :, :, g], location[n, o, g, p])``.

    Shapes as in :func:`internimage.ops.dcnv3`.  Bilinear sampling of the zero-extended image; a location on or
    beyond -1 or the image's size contributes nothing.  On an exact pixel line the derivative is the right one.
    """
    batch, in_height, in_width, channels = input.shape
    out_height, out_width = geometry.output_size(in_height, in_width)
    groups, points = geometry.groups, geometry.points
    pixels = batch * out_height * out_width
    at = sample_positions(
        offset.reshape(pixels, groups, points, 2),
        geometry,
        0,
        (in_height, in_width),
        (out_height, out_width),
    )
    weight = mask.reshape(pixels, groups, points).to(at.fraction_y.dtype)
    image = input.reshape(batch, in_height, in_width, groups, channels // groups).to(at.fraction_y.dtype)
    sample = torch.arange(pixels, device=input.device).div(out_height * out_width, rounding_mode="floor")
    sample = sample.view(-1, 1, 1)
    group = torch.arange(groups, device=input.device).view(1, -1, 1)

    fraction_y, fraction_x = (torch.where(at.inside, f, 0) for f in (at.fraction_y, at.fraction_x))
    output = image.new_zeros(pixels, groups, channels // groups)
    for row, weight_y in ((at.row, 1 - fraction_y), (at.row + 1, fraction_y)):
        for column, weight_x in ((at.column, 1 - fraction_x), (at.column + 1, fraction_x)):
            valid = at.inside & (row >= 0) & (row < in_height) & (column >= 0) & (column < in_width)
            value = image[sample, row.clamp(0, in_height - 1), column.clamp(0, in_width - 1), group]
            # where(), not a product: a border pixel that holds inf must not leak into samples outside as NaN
            value = torch.where(valid.unsqueeze(-1), value, 0)
            output = output + (value * (weight * weight_y * weight_x).unsqueeze(-1)).sum(2)
    return output.reshape(batch, out_height, out_width, channels).to(input.dtype)
