"""From frames to results, one after the other: what predictor, trainer and ``evaluate`` run alike."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from internimage.driving.data.frames import Frame, FrameSource
from internimage.driving.sequences.batch import Seen, make_views
from internimage.driving.sequences.dataset import see
from internimage.errors import ConfigError, ImageReadError
from internimage.images import FitPreprocessing, ImageSource
from internimage.inference.blame import finite
from internimage.inference.views import preparation
from internimage.settings.views import PredictionOptions


@dataclass(frozen=True)
class ReadFrame:
    """The pictures of a frame in another thread or process; see :class:`internimage.contracts.Pipeline`."""

    cameras: tuple[str, ...]
    preprocessing: FitPreprocessing

    def __call__(self, source: ImageSource) -> Seen:
        if not isinstance(source, FrameSource) or source.moment is None:
            raise ImageReadError(f"{source.name}: a single picture; expected frames of a drive: pass its data's folder")
        return see(source.moment, self.cameras, self.preprocessing)


def as_it_is(seen: Seen) -> Seen:
    """Reading prepares a frame already."""
    return seen


class SequencePipeline(ABC):
    """See :class:`internimage.contracts.Pipeline`; frames of a scene that come in order have a history.

    Args:
        model: from frames and a history to what it finds and the history for the next, with its description.
        options: none of them but the depth of pixels and the greatest number of boxes.
        tells: whether to warn of cameras that are lacking or not known.
    """

    def __init__(
        self,
        model: Any,
        options: PredictionOptions = PredictionOptions(),  # noqa: B008
        *,
        tells: bool = True,
    ) -> None:
        unknown = (options.augmentation, options.tiles, options.keep_scores, options.soft_nms)
        if any(unknown) or options.window != "model":
            raise ConfigError(
                "views (--tta), tiles (--tile), windows and soft NMS are for single pictures; leave them out"
            )
        self.model = model if options.max_objects is None else model.keeping(options.max_objects)
        self.labels: tuple[str, ...] | None = model.description.labels
        self.classes: int = model.config.num_classes
        self.read = ReadFrame(model.config.cameras, preparation(model, options, FitPreprocessing))
        self.prepare = as_it_is
        self._last: tuple[Frame, Tensor] | None = None
        self.tells, self._told = tells, set[str]()

    @abstractmethod
    def result(self, found: Any, frame: Frame, source: ImageSource) -> Any:
        """What the model found in one frame, as people take it."""

    def predict(self, prepared: Sequence[Seen], sources: Sequence[ImageSource], known: Sequence[Any]) -> list[Any]:
        return [self._predict(seen, source) for seen, source in zip(prepared, sources, strict=True)]

    @torch.inference_mode()
    def _predict(self, seen: Seen, source: ImageSource) -> Any:
        frame, config = seen.frame, self.model.config
        if self.tells:
            self._tell(frame)
        before, history = self._last or (None, None)
        if before is None or before.token != frame.previous or not config.history:
            before, history = None, None
        weight = next(self.model.parameters())
        views = make_views([seen], [before], config)
        views = views.to(weight.device, weight.dtype)
        found, bev = finite(self.model, partial(self.model, views, history))
        self._last = frame, bev
        return self.result(found, frame, source)

    def _tell(self, frame: Frame) -> None:
        """Warn once of cameras that the model does not look through, and of those that it lacks."""
        there, known = {camera.channel for camera in frame.cameras}, set(self.model.config.cameras)
        for names, text in (
            (there - known, "the model has not learnt to look through {}: left out"),
            (known - there, "there are frames without {}: what only they see is not found"),
        ):
            if new := sorted(names - self._told):
                warnings.warn(f"{frame.scene}: {text.format(', '.join(new))}", stacklevel=2)
                self._told |= names
