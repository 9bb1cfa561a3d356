"""Boxes in space in training: batches and losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from internimage.driving.boxes3d.batch import Batch, make_views
from internimage.driving.boxes3d.dataset import BoxSample
from internimage.driving.boxes3d.evaluation import BoxReport
from internimage.driving.boxes3d.pipeline import BoxPipeline
from internimage.driving.boxes3d.settings import BoxAugmentation
from internimage.driving.data.frames import Frames
from internimage.driving.data.preparing import befores, grid_mask

if TYPE_CHECKING:
    from internimage.contracts import Pipeline


class BoxTask:
    """Boxes in space from several cameras.

    Args:
        config: of the network.
        val: the validation frames; their classes are the model's.
        augmentation: see there.
    """

    best = "nds"
    headline = ("nds", "map")  # shares; the errors have units
    ragged = True

    def __init__(self, config: Any, val: Frames, augmentation: BoxAugmentation) -> None:
        self.config, self.val, self.augmentation = config, val, augmentation

    def collate(self, samples: Sequence[BoxSample]) -> Batch:
        rows = list(zip(*(sample.seen for sample in samples), strict=True))
        before = zip(*(befores([seen.frame for seen in sample.seen]) for sample in samples), strict=True)
        return Batch(
            tuple(make_views(row, last, self.config) for row, last in zip(rows, before, strict=True)),
            tuple(sample.targets for sample in samples),
            tuple(name for sample in samples for name in sample.unreadable),
        )

    def losses(self, losses: Callable[..., dict[str, Tensor]], batch: Batch) -> dict[str, Tensor]:
        *history, last = batch.queue
        if self.augmentation.grid_mask:  # drawn from what the trainer seeded for this batch
            height, width = last.images.shape[-2:]
            mask = grid_mask(height, width, np.random.RandomState(int(torch.randint(2**32, ()))))
            if mask is not None:
                last = replace(last, images=last.images * torch.from_numpy(mask).to(last.images))
        return losses([*history, last], batch.targets)

    def pipeline(self, model: Any, *, in_step: bool = False) -> Pipeline:
        return BoxPipeline(model, tells=False)

    def report(self, pipeline: Any) -> BoxReport:
        return BoxReport.on(pipeline, self.val)
