"""Images of any size with their label maps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from internimage.images import ImageSource


@dataclass(frozen=True)
class Batch:
    """Training images.

    Attributes:
        images: (3, H_i, W_i) floating, RGB, normalised.
        sources: where they came from.
        targets: (H_i, W_i) int64 class numbers, -1 where unknown.
        unreadable: files left out in reading this batch.
    """

    images: tuple[Tensor, ...]
    sources: tuple[ImageSource, ...]
    targets: tuple[Tensor, ...]
    unreadable: tuple[str, ...] = ()

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Batch:
        """The batch on another device, the images in another dtype."""
        images = tuple(image.to(device, dtype or image.dtype, non_blocking=True) for image in self.images)
        targets = tuple(target.to(device, non_blocking=True) for target in self.targets)
        return replace(self, images=images, targets=targets)

    def pin_memory(self) -> Batch:
        """The images in page-locked memory, from which they travel to a GPU while it computes."""
        return replace(self, images=tuple(image.pin_memory() for image in self.images))
