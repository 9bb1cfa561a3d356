"""Pre-training: batches and losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from internimage.multimodal.pretraining.batch import Batch, collate
from internimage.multimodal.pretraining.dataset import ViewSample
from internimage.multimodal.pretraining.evaluation import ViewsReport
from internimage.multimodal.pretraining.pictures import Sights
from internimage.multimodal.pretraining.pipeline import ViewsPipeline
from internimage.multimodal.pretraining.settings import ViewsAugmentation

if TYPE_CHECKING:
    from internimage.contracts import Pipeline


class PretrainingTask:
    """What pictures tell of themselves, of their classes and texts.

    Args:
        asked: what is learnt, see :class:`internimage.multimodal.models.m3i.ViewTargets`.
        val: the validation part.
        augmentation: the weights.
    """

    best = "score"
    headline = ("neighbours", "nearest_class", "mean_recall")
    ragged = False

    def __init__(self, asked: tuple[str, ...], val: Sights, augmentation: ViewsAugmentation) -> None:
        self.asked, self.val, self.augmentation = asked, val, augmentation

    def collate(self, samples: Sequence[ViewSample]) -> Batch:
        return collate(samples, self.asked)

    def losses(self, losses: Callable[..., dict[str, Tensor]], batch: Batch) -> dict[str, Tensor]:
        found = losses(batch.images, batch.targets)
        return {name: loss * getattr(self.augmentation, name) for name, loss in found.items()}

    def pipeline(self, model: Any, *, in_step: bool = False) -> Pipeline:
        return ViewsPipeline(model)

    def report(self, pipeline: Pipeline) -> ViewsReport:
        return ViewsReport.on(pipeline, self.val)
