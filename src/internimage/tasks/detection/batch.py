"""Images of any size as one batch, with their objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from internimage.images import ImageSource
from internimage.structures.batching import pad_together
from internimage.structures.detection import DetectionTarget


@dataclass(frozen=True)
class Batch:
    """Images of any size, padded at the right and bottom to one.

    Attributes:
        images: (N, 3, H, W) floating, RGB, normalised, H and W multiples of 32.
        sizes: (height, width) of each without padding.
        originals: (height, width) of the pictures before scaling.
        sources: where they came from.
        targets: their objects, in pixels of ``images``; None where they are not known.
        unreadable: files left out in reading this batch.
    """

    images: Tensor
    sizes: tuple[tuple[int, int], ...]
    originals: tuple[tuple[int, int], ...]
    sources: tuple[ImageSource, ...]
    targets: tuple[DetectionTarget, ...] | None = None
    unreadable: tuple[str, ...] = ()

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Batch:
        """The batch on another device, the images in another dtype."""
        images = self.images.to(device, dtype or self.images.dtype, non_blocking=True)
        targets = None if self.targets is None else tuple(truth.to(device) for truth in self.targets)
        return replace(self, images=images, targets=targets)

    def pin_memory(self) -> Batch:
        """The images in page-locked memory, from which they travel to a GPU while it computes."""
        return replace(self, images=self.images.pin_memory())

    @property
    def scales(self) -> Tensor:
        """(N, 4) float32, how much larger each image is than the original, in x, y, x, y."""
        pairs = zip(self.sizes, self.originals, strict=True)
        ratios = [(width / original[1], height / original[0]) for (height, width), original in pairs]
        return torch.tensor([(x, y, x, y) for x, y in ratios], dtype=torch.float32, device=self.images.device)


def stack(images: Sequence[Tensor], originals: Sequence[tuple[int, int]], sources: Sequence[ImageSource]) -> Batch:
    """A batch without objects from preprocessed images (3, H_i, W_i) and the (height, width) they had before."""
    sizes = tuple((image.shape[1], image.shape[2]) for image in images)
    return Batch(pad_together(images), sizes, tuple(originals), tuple(sources))
