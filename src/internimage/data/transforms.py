"""Transforms of pixels that several tasks share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from internimage.images.channels import AnyImage


def pixel_tensor(picture: AnyImage) -> Tensor:
    """uint8 (C, H, W) of a picture."""
    import numpy as np
    import torch

    from internimage.images.channels import pixels_of

    return torch.from_numpy(np.array(pixels_of(picture))).permute(2, 0, 1).contiguous()


def vary_colours(image: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue of half of the images, in the ranges of SSD (Liu et al., 2016).

    Without its exchange of channels: classes are often told apart by their colour.  Other than grey and RGB pictures
    have no saturation and no hue.
    """
    import torch
    from torchvision.transforms import v2

    if image.shape[-3] not in (1, 3):
        return vary_intensity(image, 0.125, 0.5) if torch.rand(()) < 0.5 else image
    varied: Tensor = v2.RandomApply([v2.ColorJitter((0.875, 1.125), (0.5, 1.5), (0.5, 1.5), (-0.05, 0.05))], 0.5)(image)
    return varied


def vary_intensity(image: Tensor, brightness: float, contrast: float) -> Tensor:
    """uint8 (C, H, W) times 1 +- ``brightness``, its distance from its mean times 1 +- ``contrast``."""
    import torch

    factors = torch.empty(2).uniform_(-1, 1) * torch.tensor([brightness, contrast]) + 1
    bright = image.float() * factors[0]
    middle = bright.mean()
    return ((bright - middle) * factors[1] + middle).round().clamp(0, 255).to(torch.uint8)
