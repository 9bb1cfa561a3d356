"""From pictures to classes: what predictor, trainer and ``evaluate`` run alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from internimage.data.samples import TimeAndPlace
from internimage.errors import ConfigError
from internimage.images import ImageSource, Preprocessing
from internimage.inference.blame import finite
from internimage.inference.views import preparation
from internimage.labels import class_names
from internimage.models.classifier import ImageClassifier
from internimage.results.classification import Classification
from internimage.settings.views import PredictionOptions, refuse_for_detectors
from internimage.tasks.classification.batch import Batch, stack


class ClassificationPipeline:
    """See :class:`internimage.contracts.Pipeline`; ``known`` is when and where a photo was taken, or None."""

    def __init__(self, model: ImageClassifier, options: PredictionOptions = PredictionOptions()) -> None:  # noqa: B008
        if options.augmentation is not None:
            raise ConfigError("test-time augmentation is for detectors and segmenters; leave it out")
        if options.keep_scores or options.window != "model":
            raise ConfigError("window and keep_scores are for segmenters; leave them out")
        refuse_for_detectors(options, "a classifier sees a picture as a whole")
        if not model.config.num_classes:
            raise ConfigError("a classifier without classes predicts nothing; internimage features gives its features")
        self.prepare = preparation(model, options, Preprocessing)
        self.read = self.prepare.read
        self.model = model
        self.labels = model.description.labels if model.description else None
        self.classes: int = model.config.num_classes

    def predict(
        self, prepared: Sequence[Tensor], sources: Sequence[ImageSource], known: Sequence[TimeAndPlace | None]
    ) -> list[Classification]:
        taken = known if self.model.config.metadata_channels is not None else None
        return predict(self.model, stack(prepared, sources, taken), self.labels)


def decode(logits: Tensor, batch: Batch, labels: tuple[str, ...] | None) -> list[Classification]:
    """Logits (N, K) to one result an image; softmax in float32."""
    probabilities = logits.detach().float().softmax(-1).cpu().numpy()
    names = class_names(labels, logits.shape[-1])
    return [Classification(row, names, source) for row, source in zip(probabilities, batch.sources, strict=True)]


@torch.inference_mode()
def predict(model: Any, batch: Batch, labels: tuple[str, ...] | None) -> list[Classification]:
    """Forward and decode, on the model's device and in its dtype."""
    weight = next(model.parameters())
    moved = batch.to(weight.device, weight.dtype)
    logits = finite(model, lambda: model(moved.images, *moved.metadata))
    return decode(logits, moved, labels)
