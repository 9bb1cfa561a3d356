"""Detection and instance segmentation: batches, losses, results, average precision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor, nn

from internimage.images import ImageSource
from internimage.images.scaling import pad_together, padded
from internimage.layers.detection import GroundTruth, RawDetections
from internimage.results import Detections
from internimage.tasks.average_precision import AveragePrecision

if TYPE_CHECKING:
    from internimage.data.coco import ObjectImages
    from internimage.data.object_dataset import ObjectSample


@dataclass(frozen=True)
class Batch:
    """Images of any size, padded at the right and bottom to one.

    Attributes:
        images: (N, 3, H, W) floating, RGB, normalised, H and W multiples of 32.
        sizes: (height, width) of each without padding.
        originals: (height, width) of the pictures before scaling.
        sources: where they came from.
        identities: their numbers in the annotation file; None where there is none.
        truths: their objects, in pixels of ``images``; None where they are not known.
        unreadable: files left out in reading this batch.
    """

    images: Tensor
    sizes: tuple[tuple[int, int], ...]
    originals: tuple[tuple[int, int], ...]
    sources: tuple[ImageSource, ...]
    identities: tuple[int, ...] | None = None
    truths: tuple[GroundTruth, ...] | None = None
    unreadable: tuple[str, ...] = ()

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Batch:
        """The batch on another device, the images in another dtype."""
        images = self.images.to(device, dtype or self.images.dtype, non_blocking=True)
        truths = None if self.truths is None else tuple(truth.to(device) for truth in self.truths)
        return replace(self, images=images, truths=truths)

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


@torch.inference_mode()
def detect(model: nn.Module, batch: Batch) -> list[RawDetections]:
    """The objects of each image, in pixels of the original, on the model's device and in its dtype.

    Networks see padding as black pixels, up to an image's edge.  So that neighbours in a batch change nothing, each
    image keeps the padding that it would have alone, as in the released evaluation; equal sizes run together.
    """
    weight = next(model.parameters())
    moved, scales = batch.to(weight.device, weight.dtype), batch.scales.to(weight.device)
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, (height, width) in enumerate(batch.sizes):
        groups[padded(height), padded(width)].append(index)
    found: dict[int, RawDetections] = {}
    for (height, width), indices in groups.items():
        images = moved.images[indices, :, :height, :width]
        found |= zip(indices, model(images, [batch.sizes[i] for i in indices], scales[indices]), strict=True)
    return [found[index] for index in range(len(batch.sizes))]


def decode(found: Sequence[RawDetections], batch: Batch, labels: tuple[str, ...]) -> list[Detections]:
    """Results of each image, given the names of all classes."""
    results = []
    for one, original, source in zip(found, batch.originals, batch.sources, strict=True):
        boxes, scores = (tensor.detach().float().cpu().numpy() for tensor in (one.boxes, one.scores))
        masks = None if one.masks is None else one.masks.detach().float().cpu().numpy()
        results.append(Detections(boxes, scores, one.labels.cpu().numpy(), labels, original, source, masks))
    return results


def predict(model: nn.Module, batch: Batch, labels: tuple[str, ...]) -> list[Detections]:
    """Forward and decode."""
    return decode(detect(model, batch), batch, labels)


class DetectionTask:
    """Boxes of objects, and their masks if the model has such.

    Args:
        data: what is evaluated on; its classes are the model's.
        masks: whether the model predicts masks.
    """

    best = "box_ap"
    ragged = True
    in_step = False

    def __init__(self, data: ObjectImages, *, masks: bool) -> None:
        self.data = data
        self.masks = masks

    def collate(self, samples: Sequence[ObjectSample]) -> Batch:
        batch = stack(
            [sample.image for sample in samples],
            [sample.original for sample in samples],
            [sample.source for sample in samples],
        )
        return replace(
            batch,
            identities=tuple(sample.identity for sample in samples),
            truths=tuple(_padded(sample.truth, batch.images) for sample in samples),
            unreadable=tuple(name for sample in samples for name in sample.unreadable),
        )

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = model(batch.images, batch.sizes, None, batch.truths)
        return losses

    def predict(self, model: nn.Module, batch: Batch) -> list[Detections]:
        return predict(model, batch, self.data.classes)

    def metric(self) -> AveragePrecision:
        return AveragePrecision(self.data, masks=self.masks)

    def draw(self, result: Detections) -> Image.Image:
        return result.draw()


def _padded(truth: GroundTruth, images: Tensor) -> GroundTruth:
    """Masks as large as the batch's images."""
    if truth.masks is None:
        return truth
    height, width = images.shape[2:]
    masks = truth.masks.new_zeros(len(truth.masks), height, width)
    masks[:, : truth.masks.shape[1], : truth.masks.shape[2]] = truth.masks
    return replace(truth, masks=masks)
