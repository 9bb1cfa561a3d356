"""A data set of labelled images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from internimage.data.dataset import OnCorrupt, PictureDataset, Read
from internimage.data.samples import LabelledImage, LabelledImages, TimeAndPlace
from internimage.images import ImageSource
from internimage.images.channels import AnyImage


@dataclass(frozen=True)
class Sample:
    """One labelled image, ready for a batch.

    Attributes:
        image: (C, H, W) float32, normalised.
        label: class number.
        source: the file.
        unreadable: files that could not be read and that this sample stands in for.
        taken: when and where, if the data tells.
    """

    image: Tensor
    label: int
    source: ImageSource
    unreadable: tuple[str, ...] = ()
    taken: TimeAndPlace | None = None


class ClassificationDataset(PictureDataset[LabelledImage, Sample]):
    """Reads, transforms and labels images.

    Args:
        data: the files.
        transform: a picture to a tensor (C, H, W).
        seed, on_corrupt, read: see :class:`PictureDataset`.
    """

    def __init__(
        self,
        data: LabelledImages,
        transform: Callable[[AnyImage], Tensor],
        seed: int = 0,
        on_corrupt: OnCorrupt = "error",
        read: Read = ImageSource.read,
    ) -> None:
        super().__init__(data.name, data.samples, seed, on_corrupt, read)
        self.data = data
        self.transform = transform

    def prepare(
        self, entry: LabelledImage, source: ImageSource, picture: AnyImage, unreadable: tuple[str, ...]
    ) -> Sample:
        return Sample(self.transform(picture), entry.label, source, unreadable, entry.taken)
