"""Transforms of pixels that several tasks share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def vary_colours(image: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue of half of the images, in the ranges of SSD (Liu et al., 2016).

    Without its exchange of channels: classes are often told apart by their colour.
    """
    from torchvision.transforms import v2

    varied: Tensor = v2.RandomApply([v2.ColorJitter((0.875, 1.125), (0.5, 1.5), (0.5, 1.5), (-0.05, 0.05))], 0.5)(image)
    return varied
