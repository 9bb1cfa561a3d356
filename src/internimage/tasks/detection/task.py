"""Detection and instance segmentation in training: batches and losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from internimage.data.objects import ObjectImages
from internimage.structures.detection import DetectionTarget
from internimage.tasks.detection.batch import Batch, stack
from internimage.tasks.detection.dataset import DetectionSample
from internimage.tasks.detection.evaluation import DetectionReport
from internimage.tasks.detection.pipeline import DetectionPipeline

if TYPE_CHECKING:
    from internimage.contracts import Pipeline


class DetectionTask:
    """Boxes of objects, and their masks if the model has such.

    Args:
        val: the validation images; their classes are the model's.
        masks: whether masks are learnt and measured.
    """

    best = "box_ap"
    headline = ("box_ap", "box_ap50", "mask_ap", "mask_ap50")
    ragged = True

    def __init__(self, val: ObjectImages, *, masks: bool) -> None:
        self.val = val
        self.masks = masks

    def collate(self, samples: Sequence[DetectionSample]) -> Batch:
        return collate(samples)

    def losses(self, losses: Callable[..., dict[str, Tensor]], batch: Batch) -> dict[str, Tensor]:
        return losses(batch.images, batch.sizes, batch.targets)

    def pipeline(self, model: Any, *, in_step: bool = False) -> Pipeline:
        return DetectionPipeline(model)

    def report(self, pipeline: Any) -> DetectionReport:
        return DetectionReport.on(pipeline, self.val, masks=self.masks)


def collate(samples: Sequence[DetectionSample]) -> Batch:
    """A batch of samples, with masks as large as its images."""
    batch = stack(
        [sample.image for sample in samples],
        [sample.original for sample in samples],
        [sample.source for sample in samples],
    )
    return replace(
        batch,
        targets=tuple(_padded(sample.truth, batch.images) for sample in samples),
        unreadable=tuple(name for sample in samples for name in sample.unreadable),
    )


def _padded(truth: DetectionTarget, images: Tensor) -> DetectionTarget:
    """Masks as large as the batch's images."""
    if truth.masks is None:
        return truth
    height, width = images.shape[2:]
    masks = truth.masks.new_zeros(len(truth.masks), height, width)
    masks[:, : truth.masks.shape[1], : truth.masks.shape[2]] = truth.masks
    return replace(truth, masks=masks)
