"""Images of several sizes as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DIVISOR = 32
"""Sides of a batch are multiples of this: the coarsest map has a pixel for each 32 of the image."""


def padded(side: int) -> int:
    """The multiple of 32 that a side is padded to."""
    return -(-side // DIVISOR) * DIVISOR


def pad_together(images: Sequence[torch.Tensor]) -> torch.Tensor:
    """Images (C, H_i, W_i) as one batch (N, C, H, W), zeros at the right and bottom, sides multiples of 32."""
    height, width = (padded(max(image.shape[side] for image in images)) for side in (1, 2))
    batch = images[0].new_zeros(len(images), images[0].shape[0], height, width)
    for place, image in zip(batch, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return batch
