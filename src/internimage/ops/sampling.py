"""Where the samples of a deformable operator lie, and how they divide between the four pixels around them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from internimage.ops.geometry import SamplingGeometry

# Farther than any image is wide: keeps the conversion of wild offsets to integers defined.
_FAR = float(1 << 24)


@dataclass
class SamplePositions:
    """Positions split into the pixel above and left of them and the remaining fraction; all (pixels, G, P).

    Only the small displacement from an output pixel's integer base position is rounded, never the absolute
    coordinate, so float32 is as exact at column 4000 as at column 0.
    """

    row: Tensor  # integer
    column: Tensor  # integer
    fraction_y: Tensor  # [0, 1), float32 or float64; differentiable in the offset
    fraction_x: Tensor
    inside: Tensor  # bool: -1 < position < size in both directions; false for NaN


@dataclass
class WeightedSamples:
    """Bilinear samples and what they are weighted with, all of one shape (...)."""

    fraction_y: Tensor  # [0, 1)
    fraction_x: Tensor
    weight: Tensor

    def corner_weights(self) -> Tensor:
        """(..., 4) weights of the pixels top left, top right, bottom left, bottom right."""
        bottom = self.fraction_y * self.weight
        top = self.weight - bottom
        top_right, bottom_right = top * self.fraction_x, bottom * self.fraction_x
        return torch.stack((top - top_right, top_right, bottom - bottom_right, bottom_right), -1)

    def gradients(self, products: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of x and y in pixels, and of the weight, from the four pixels times the output's gradient."""
        top_left, top_right, bottom_left, bottom_right = products.unbind(-1)
        top_slope, bottom_slope = top_right - top_left, bottom_right - bottom_left
        top = top_left + self.fraction_x * top_slope
        bottom = bottom_left + self.fraction_x * bottom_slope
        grad_x = self.weight * (top_slope + self.fraction_y * (bottom_slope - top_slope))
        return grad_x, self.weight * (bottom - top), top + self.fraction_y * (bottom - top)


def sample_positions(
    offset: Tensor,
    geometry: SamplingGeometry,
    first_pixel: int,
    in_size: tuple[int, int],
    out_size: tuple[int, int],
    index: torch.dtype = torch.int64,
) -> SamplePositions:
    """Positions of the output pixels ``first_pixel + (0 .. pixels - 1)``, row-major over the whole batch.

    ``offset`` is (pixels, G, P, 2), x component first.  ``index`` is the integer type of row and column.
    """
    coordinate = torch.float64 if offset.dtype == torch.float64 else torch.float32
    pixel = torch.arange(first_pixel, first_pixel + offset.shape[0], device=offset.device)
    base = pixel.div(out_size[1], rounding_mode="floor").remainder(out_size[0]), pixel.remainder(out_size[1])
    taps = geometry.taps(coordinate, offset.device)
    pixels, fractions, inside = [], [], []
    for axis in (0, 1):
        displacement = taps[axis] + offset[..., 1 - axis].to(coordinate) * geometry.offset_scale
        whole = displacement.detach().floor()
        fraction = displacement - whole
        start = base[axis] * geometry.stride[axis] + (geometry.centre()[axis] - geometry.padding[axis])
        position = start.to(index).view(-1, 1, 1) + whole.clamp(-_FAR, _FAR).to(index)
        after_start = (position >= 0) | ((position == -1) & (fraction > 0))
        inside.append(after_start & (position < in_size[axis]) & (fraction >= 0))
        pixels.append(position)
        fractions.append(fraction)
    return SamplePositions(pixels[0], pixels[1], fractions[0], fractions[1], inside[0] & inside[1])
