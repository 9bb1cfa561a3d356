"""Image classification in training: batches and losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from internimage.data.samples import LabelledImages
from internimage.tasks.classification.batch import Batch, stack
from internimage.tasks.classification.dataset import Sample
from internimage.tasks.classification.evaluation import ClassificationReport
from internimage.tasks.classification.pipeline import ClassificationPipeline

if TYPE_CHECKING:
    from internimage.contracts import Pipeline


class ClassificationTask:
    """Single-label classification.

    Args:
        val: the validation images; their classes are the model's.
        label_smoothing: share of the target spread over all classes.
        mix: mixup and cutmix, from images (N, 3, H, W) and labels (N,) to images and labels (N, K).
        metadata: whether the model reads when and where a photo was taken.
    """

    best = "top1"
    headline = ("top1", "top5", "mean_class")
    ragged = False

    def __init__(
        self,
        val: LabelledImages,
        label_smoothing: float = 0.0,
        mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        *,
        metadata: bool = False,
    ) -> None:
        self.val = val
        self.label_smoothing = label_smoothing
        self.mix = mix
        self.metadata = metadata

    def collate(self, samples: Sequence[Sample]) -> Batch:
        taken = [sample.taken for sample in samples] if self.metadata else None
        batch = stack([sample.image for sample in samples], [sample.source for sample in samples], taken)
        return replace(
            batch,
            labels=torch.tensor([sample.label for sample in samples]),
            unreadable=tuple(name for sample in samples for name in sample.unreadable),
        )

    def losses(self, losses: Callable[..., dict[str, Tensor]], batch: Batch) -> dict[str, Tensor]:
        assert batch.labels is not None
        images, target = batch.images, batch.labels
        if self.mix is not None:
            images, target = self.mix(images, target)  # time and place stay the first image's, as in MetaFormer
        return losses(images, target, *batch.metadata, label_smoothing=self.label_smoothing)

    def pipeline(self, model: Any, *, in_step: bool = False) -> Pipeline:
        return ClassificationPipeline(model)

    def report(self, pipeline: Pipeline) -> ClassificationReport:
        return ClassificationReport.on(pipeline, self.val)
