"""A data set of images with objects whose every sample is a function of (seed, epoch, index) alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from internimage.data.dataset import OnCorrupt, PictureDataset, Read
from internimage.data.objects import ObjectImage, ObjectImages, bitmap, wrong_size
from internimage.errors import ImageReadError
from internimage.images import ImageSource
from internimage.images.channels import AnyImage
from internimage.images.scaling import FitPreprocessing
from internimage.structures.detection import DetectionTarget

if TYPE_CHECKING:
    from internimage.tasks.detection.augmentation import ObjectTransform


@dataclass(frozen=True)
class DetectionSample:
    """One image with its objects, ready for a batch.

    Attributes:
        image: (C, H, W) float32, normalised.
        truth: objects to learn from, in pixels of ``image``.
        original: (height, width) of the picture.
        source: the file.
        unreadable: files that could not be read and that this sample stands in for.
    """

    image: Tensor
    truth: DetectionTarget
    original: tuple[int, int]
    source: ImageSource
    unreadable: tuple[str, ...] = ()


class DetectionDataset(PictureDataset[ObjectImage, DetectionSample]):
    """Reads and transforms images with objects; crowds and boxes that are smaller than a pixel are left out.

    Args:
        data: the files.
        transform: a picture and its objects to a tensor (C, H, W) and the objects in it.
        masks: whether ``transform`` gets masks.
        seed, on_corrupt, read: see :class:`PictureDataset`.  A picture of another size than the annotations say counts
            as unreadable.
    """

    def __init__(
        self,
        data: ObjectImages,
        transform: ObjectTransform,
        *,
        masks: bool = False,
        seed: int = 0,
        on_corrupt: OnCorrupt = "error",
        read: Read = ImageSource.read,
    ) -> None:
        super().__init__(data.name, data.images, seed, on_corrupt, read)
        self.data = data
        self.transform = transform
        self.masks = masks

    def prepare(
        self, entry: ObjectImage, source: ImageSource, picture: AnyImage, unreadable: tuple[str, ...]
    ) -> DetectionSample:
        if wrong := wrong_size(entry, picture.size):
            raise ImageReadError(f"{source.name}: {wrong}")
        target = detection_target(entry, masks=self.masks, groups=self.data.rule.learns_groups)
        image, truth = self.transform(picture, target)
        return DetectionSample(image, truth, entry.size, source, unreadable)


def detection_target(entry: ObjectImage, *, masks: bool, groups: bool = False) -> DetectionTarget:
    """What can be learned from an image, in its own pixels: no boxes of less than a pixel within it.

    Crowds are learnt where ``groups`` says so.
    """
    height, width = entry.size
    objects = [one for one in entry.objects if groups or not one.crowd]
    boxes = torch.tensor([one.box for one in objects], dtype=torch.float32).reshape(-1, 4)
    boxes = boxes.clamp(torch.zeros(4), torch.tensor([width, height, width, height]))
    kept = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
    labels = torch.tensor([one.label for one in objects], dtype=torch.int64)
    bitmaps = None
    if masks:
        found = [bitmap(one, entry.size) for one, keep in zip(objects, kept.tolist(), strict=True) if keep]
        bitmaps = torch.from_numpy(np.stack(found)) if found else torch.zeros(0, height, width, dtype=torch.bool)
    return DetectionTarget(boxes[kept], labels[kept], bitmaps)


def too_small(data: ObjectImages, frame: FitPreprocessing) -> int:
    """How many of the objects to learn nobody learns: less than a pixel of the picture, or of the scaled picture."""
    table = data.table
    smallest = np.array([max(1.0, min(size) / min(frame.size(size))) for size in map(tuple, table.sizes.tolist())])
    height, width = table.sizes[table.image_of].T
    x1, y1, x2, y2 = table.boxes.T
    across, down = np.minimum(x2, width) - np.maximum(x1, 0), np.minimum(y2, height) - np.maximum(y1, 0)
    return int((data.learnt & (np.minimum(across, down) < smallest[table.image_of])).sum())
