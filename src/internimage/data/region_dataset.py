"""A data set of images with a class for every pixel whose every sample is a function of (seed, epoch, index) alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from internimage.data.dataset import OnCorrupt, PictureDataset
from internimage.data.region_augmentation import TrainingTransform
from internimage.data.regions import RegionImage, RegionImages
from internimage.errors import ImageReadError
from internimage.images import ImageSource
from internimage.images.scaling import FitPreprocessing


@dataclass(frozen=True)
class RegionSample:
    """One image with its label map, ready for a batch.

    Attributes:
        image: (3, H, W) float32, normalised.
        truth: (H, W) int64 class numbers, -1 where unknown; in training of the image, else of the original.
        original: (height, width) of the picture.
        source: the file.
        unreadable: files that could not be read and that this sample stands in for.
    """

    image: Tensor
    truth: Tensor
    original: tuple[int, int]
    source: ImageSource
    unreadable: tuple[str, ...] = ()


class RegionDataset(PictureDataset[RegionImage, RegionSample]):
    """Reads and transforms images with label maps.

    Args:
        data: the files.
        transform: for training; or how images are prepared for prediction, where the label map stays as it is.
        seed, on_corrupt: see :class:`PictureDataset`.  A mask that is missing, of another size than the picture or with
            numbers that stand for no class counts as unreadable.
    """

    def __init__(
        self,
        data: RegionImages,
        transform: TrainingTransform | FitPreprocessing,
        seed: int = 0,
        on_corrupt: OnCorrupt = "error",
    ) -> None:
        super().__init__(data.name, data.images, seed, on_corrupt)
        self.data = data
        self.transform = transform

    def prepare(
        self, entry: RegionImage, source: ImageSource, picture: Image.Image, unreadable: tuple[str, ...]
    ) -> RegionSample:
        truth = self.data.truth(entry)
        if wrong := wrong_mask_size(entry, picture.size, (truth.shape[0], truth.shape[1])):
            raise ImageReadError(f"{source.name}: {wrong}")
        original = (picture.height, picture.width)
        if isinstance(self.transform, FitPreprocessing):
            image, labels = self.transform(picture), torch.from_numpy(truth).long()
        else:
            image, labels = self.transform(picture, truth)
        return RegionSample(image, labels, original, source, unreadable)


def wrong_mask_size(entry: RegionImage, size: tuple[int, int], mask: tuple[int, int]) -> str | None:
    """What is wrong with a mask (height, width) of a picture of ``size`` (width, height); None if they agree."""
    height, width = mask
    if size == (width, height):
        return None
    where = str(entry.mask) if isinstance(entry.mask, Path) else "the annotations"
    text = f"the picture is {size[0]}x{size[1]}, {where} {width}x{height}"
    if size != (height, width):
        return f"{text}; expected one size"
    return f"{text}: drawn on the picture before the rotation that its EXIF data ask for; store both upright"
