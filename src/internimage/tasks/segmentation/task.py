"""Semantic segmentation in training: batches and losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from internimage.data.masks import SegmentedImages
from internimage.tasks.segmentation.batch import Batch
from internimage.tasks.segmentation.dataset import SegmentationSample
from internimage.tasks.segmentation.evaluation import SegmentationReport
from internimage.tasks.segmentation.pipeline import SegmentationPipeline

if TYPE_CHECKING:
    from internimage.contracts import Pipeline


class SegmentationTask:
    """A class for every pixel.

    Args:
        val: the validation images; their classes are the model's.
    """

    best = "miou"
    headline = ("miou", "aacc")
    ragged = True

    def __init__(self, val: SegmentedImages) -> None:
        self.val = val

    def collate(self, samples: Sequence[SegmentationSample]) -> Batch:
        return Batch(
            tuple(sample.image for sample in samples),
            tuple(sample.source for sample in samples),
            tuple(sample.truth for sample in samples),
            tuple(name for sample in samples for name in sample.unreadable),
        )

    def losses(self, losses: Callable[..., dict[str, Tensor]], batch: Batch) -> dict[str, Tensor]:
        return losses(torch.stack(batch.images), torch.stack(batch.targets))

    def pipeline(self, model: Any, *, in_step: bool = False) -> Pipeline:
        return SegmentationPipeline(model, in_step=in_step)

    def report(self, pipeline: Pipeline) -> SegmentationReport:
        return SegmentationReport.on(pipeline, self.val)
