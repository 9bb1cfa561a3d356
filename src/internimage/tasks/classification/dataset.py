"""A data set of labelled images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from internimage.data.dataset import OnCorrupt, PictureDataset
from internimage.data.samples import LabelledImage, LabelledImages, TimeAndPlace
from internimage.images import ImageSource


@dataclass(frozen=True)
class Sample:
    """One labelled image, ready for a batch.

    Attributes:
        image: (3, H, W) float32, normalised.
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
        transform: a picture (RGB) to a tensor (3, H, W).
        seed, on_corrupt: see :class:`PictureDataset`.
    """

    def __init__(
        self,
        data: LabelledImages,
        transform: Callable[[Image.Image], Tensor],
        seed: int = 0,
        on_corrupt: OnCorrupt = "error",
    ) -> None:
        super().__init__(data.name, data.samples, seed, on_corrupt)
        self.data = data
        self.transform = transform

    def prepare(
        self, entry: LabelledImage, source: ImageSource, picture: Image.Image, unreadable: tuple[str, ...]
    ) -> Sample:
        return Sample(self.transform(picture), entry.label, source, unreadable, entry.taken)
