"""Transforms of pictures and label maps, made of torchvision's: both move together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from internimage.data.transforms import pixel_tensor, vary_colours
from internimage.images.masks import UNKNOWN
from internimage.images.scaling import FitPreprocessing
from internimage.settings.segmentation import SegmentationAugmentation

if TYPE_CHECKING:
    import numpy as np
    import torch

    from internimage.images.channels import AnyImage

_TRIES = 10  # crops that are tried until no class fills too much of one


@dataclass(frozen=True)
class TrainingTransform:
    """A picture and its label map (H, W) to a normalised image (C, h, w) float32 and its label map (h, w) int64.

    Scaled, cropped, flipped and padded to the crop's size, with random numbers from PyTorch's global generator; padding
    is unknown.
    """

    augmentation: SegmentationAugmentation
    preprocessing: FitPreprocessing

    def __call__(self, picture: AnyImage, truth: np.ndarray[Any, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        import torch
        from torchvision import tv_tensors
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional

        augmentation = self.augmentation
        factor = float(torch.empty(()).uniform_(*augmentation.scale))
        short, long = (max(1, int(side * factor)) for side in (augmentation.short, augmentation.long))
        size = FitPreprocessing(short, long).size((picture.height, picture.width))
        image = functional.resize(pixel_tensor(picture), list(size), antialias=False)
        labels = torch.from_numpy(truth)[None]
        labels = functional.resize_image(labels, list(size), InterpolationMode.NEAREST_EXACT)
        top, left, height, width = self._place(labels[0])
        parts: list[Any] = [tv_tensors.Image(image), tv_tensors.Mask(labels)]
        parts = [functional.crop(part, top, left, height, width) for part in parts]
        if torch.rand(()) < augmentation.flip:
            parts = [functional.horizontal_flip(part) for part in parts]
        if augmentation.photometric:
            parts[0] = vary_colours(parts[0])
        image, labels = (part.as_subclass(torch.Tensor) for part in parts)
        image = functional.normalize(image.float(), list(self.preprocessing.mean), list(self.preprocessing.std))
        frame = [0, 0, augmentation.crop[1] - width, augmentation.crop[0] - height]
        return functional.pad(image, frame), functional.pad(labels, frame, fill=UNKNOWN)[0].long()

    def _place(self, labels: torch.Tensor) -> tuple[int, int, int, int]:
        """Top, left, height and width of a crop that no class fills."""
        import torch

        height, width = (min(side, most) for side, most in zip(labels.shape, self.augmentation.crop, strict=True))
        for _ in range(_TRIES):
            top = int(torch.randint(labels.shape[0] - height + 1, ()))
            left = int(torch.randint(labels.shape[1] - width + 1, ()))
            if self.augmentation.most_of_one == 1:
                break
            seen = labels[top : top + height, left : left + width]
            counts = torch.bincount(seen[seen != UNKNOWN])
            if int((counts > 0).sum()) > 1 and counts.max() < self.augmentation.most_of_one * counts.sum():
                break
        return top, left, height, width
