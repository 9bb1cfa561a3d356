"""A data set of images with a class for every pixel whose every sample is a function of (seed, epoch, index) alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from internimage.data.dataset import OnCorrupt, PictureDataset, Read
from internimage.data.masks import SegmentedImage, SegmentedImages, wrong_mask_size
from internimage.errors import ImageReadError
from internimage.images import ImageSource
from internimage.images.channels import AnyImage
from internimage.tasks.segmentation.augmentation import TrainingTransform


@dataclass(frozen=True)
class SegmentationSample:
    """One image with its label map, ready for a batch.

    Attributes:
        image: (C, H, W) float32, normalised.
        truth: (H, W) int64 class numbers of the image, -1 where unknown.
        source: the file.
        unreadable: files that could not be read and that this sample stands in for.
    """

    image: Tensor
    truth: Tensor
    source: ImageSource
    unreadable: tuple[str, ...] = ()


class SegmentationDataset(PictureDataset[SegmentedImage, SegmentationSample]):
    """Reads and transforms images with label maps.

    Args:
        data: the files.
        transform: for training.
        seed, on_corrupt, read: see :class:`PictureDataset`.  A mask that is missing, of another size than the picture
            or with numbers that stand for no class counts as unreadable.
    """

    def __init__(
        self,
        data: SegmentedImages,
        transform: TrainingTransform,
        seed: int = 0,
        on_corrupt: OnCorrupt = "error",
        read: Read = ImageSource.read,
    ) -> None:
        super().__init__(data.name, data.images, seed, on_corrupt, read)
        self.data = data
        self.transform = transform

    def prepare(
        self, entry: SegmentedImage, source: ImageSource, picture: AnyImage, unreadable: tuple[str, ...]
    ) -> SegmentationSample:
        truth = self.data.truth(entry)
        if wrong := wrong_mask_size(entry, picture.size, (truth.shape[0], truth.shape[1])):
            raise ImageReadError(f"{source.name}: {wrong}")
        image, labels = self.transform(picture, truth)
        return SegmentationSample(image, labels, source, unreadable)
