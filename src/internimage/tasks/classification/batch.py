"""Images of equal size, as a classifier takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from internimage.data.samples import TimeAndPlace
from internimage.errors import InputSizeError
from internimage.images import ImageSource


@dataclass(frozen=True)
class Batch:
    """Images of equal size.

    Attributes:
        images: (N, 3, H, W) floating, RGB, normalised.
        sources: where they came from.
        labels: (N,) int64 class numbers; None where they are not known.
        unreadable: files left out in reading this batch.
        temporal, spatial: (N, 4) and (N, 3), when and where the photos were taken, zeros where unknown; None for models
            that do not read them.
    """

    images: Tensor
    sources: tuple[ImageSource, ...]
    labels: Tensor | None = None
    unreadable: tuple[str, ...] = ()
    temporal: Tensor | None = None
    spatial: Tensor | None = None

    @property
    def metadata(self) -> tuple[Tensor, ...]:
        """What a model that reads time and place is given beside the images."""
        return () if self.temporal is None or self.spatial is None else (self.temporal, self.spatial)

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Batch:
        """The batch on another device, what the model reads in another dtype."""
        dtype = dtype or self.images.dtype
        images = self.images.to(device, dtype, non_blocking=True)
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        temporal = None if self.temporal is None else self.temporal.to(device, dtype, non_blocking=True)
        spatial = None if self.spatial is None else self.spatial.to(device, dtype, non_blocking=True)
        return replace(self, images=images, labels=labels, temporal=temporal, spatial=spatial)

    def pin_memory(self) -> Batch:
        """The images in page-locked memory, from which they travel to a GPU while it computes."""
        return replace(self, images=self.images.pin_memory())


def stack(
    images: Sequence[Tensor], sources: Sequence[ImageSource], taken: Sequence[TimeAndPlace | None] | None = None
) -> Batch:
    """A batch without labels from preprocessed images (3, H, W); ``taken`` is for models that read it."""
    if len({tuple(image.shape) for image in images}) != 1:
        raise InputSizeError("a batch for classification needs images of one size; preprocess with a crop")
    batch = Batch(torch.stack(list(images)), tuple(sources))
    if taken is None:
        return batch
    known = [each or TimeAndPlace() for each in taken]
    temporal, spatial = [each.temporal() for each in known], [each.spatial() for each in known]
    return replace(batch, temporal=torch.tensor(temporal), spatial=torch.tensor(spatial))
