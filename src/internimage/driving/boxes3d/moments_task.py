"""Boxes in space by networks that see several moments together, in training and prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from internimage.driving.boxes3d.moments import (
    Moments,
    MomentsBatch,
    MomentsDataset,
    batch_of,
    cameras_of,
    see_moments,
    usual_sizes,
    views_of,
)
from internimage.driving.boxes3d.pipeline import BoxPipeline
from internimage.driving.boxes3d.task import BoxTask
from internimage.driving.data.frames import Frames, FrameSource
from internimage.driving.data.preparing import grid_mask
from internimage.driving.results.boxes3d import FoundBoxes
from internimage.errors import ImageReadError
from internimage.images import FitPreprocessing, ImageSource
from internimage.inference.blame import finite
from internimage.settings.views import PredictionOptions


@dataclass(frozen=True)
class ReadMoments:
    """The pictures of a frame and of those that are seen with it; see :class:`internimage.contracts.Pipeline`."""

    config: Any
    preprocessing: FitPreprocessing

    def __call__(self, source: ImageSource) -> Moments:
        if not isinstance(source, FrameSource) or source.moment is None:
            raise ImageReadError(f"{source.name}: a single picture; expected frames of a drive: pass its data's folder")
        return see_moments(source.moment, source.near, self.config, self.preprocessing)


class MomentsPipeline(BoxPipeline):
    """Of a :class:`internimage.driving.models.bevformer_v2.BEVFormerV2`; every frame is seen for itself."""

    def __init__(self, model: Any, options: PredictionOptions = PredictionOptions(), *, tells: bool = True) -> None:  # noqa: B008
        super().__init__(model, options, tells=tells)
        self.read = ReadMoments(self.model.config, self.read.preprocessing)  # type: ignore[assignment]

    @torch.inference_mode()
    def _predict(self, seen: Any, source: ImageSource) -> FoundBoxes:
        config, weight = self.model.config, next(self.model.parameters())
        if self.tells:
            self._tell(seen.frame)
        views = [one.to(weight.device, weight.dtype) for one in views_of([seen], config)]
        cameras = cameras_of([seen], config.cameras).to(weight.device)
        return self.result(finite(self.model, partial(self.model, views, cameras)), seen.frame, source)


class MomentsTask(BoxTask):
    """Boxes in space from several cameras at several moments, and from single pictures."""

    dataset = MomentsDataset
    takes_scene = True

    @classmethod
    def fit(cls, model: Any, train: Frames, *, anew: bool) -> None:
        """Usual sizes of the classes, where nothing is known of them."""
        if anew:
            truths = [frame.truth for frame in train.frames if frame.truth is not None]
            labels, sizes = (np.concatenate([getattr(one, name) for one in truths]) for name in ("labels", "sizes"))
            model.take_sizes(usual_sizes(labels, sizes, len(train.classes)))

    def collate(self, samples: Sequence[Any]) -> MomentsBatch:
        return batch_of(samples, self.config)

    def losses(self, losses: Callable[..., dict[str, Tensor]], batch: Any) -> dict[str, Tensor]:
        queue, now = list(batch.queue), self.config.frames.index(0)
        if self.augmentation.grid_mask:  # drawn from what the trainer seeded for this batch
            height, width = queue[now].images.shape[-2:]
            mask = grid_mask(height, width, np.random.RandomState(int(torch.randint(2**32, ()))))
            if mask is not None:
                images = queue[now].images
                queue[now] = replace(queue[now], images=images * torch.from_numpy(mask).to(images))
        return losses(queue, batch.targets, batch.cameras, batch.pictures, batch.shown)

    def pipeline(self, model: Any, *, in_step: bool = False) -> MomentsPipeline:
        return MomentsPipeline(model, tells=False)
