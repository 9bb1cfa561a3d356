"""Image classification: from images to batches, from logits to results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from internimage.errors import InputSizeError
from internimage.images import ImageSource
from internimage.models.classifier import ImageClassifier
from internimage.results import Classification


@dataclass(frozen=True)
class Batch:
    """Images of equal size with where they came from: (N, 3, H, W) float, RGB, normalised."""

    images: Tensor
    sources: tuple[ImageSource, ...]


def collate(images: Sequence[Tensor], sources: Sequence[ImageSource]) -> Batch:
    """Stack preprocessed images (3, H, W)."""
    if len({tuple(image.shape) for image in images}) != 1:
        raise InputSizeError("a batch for classification needs images of one size; preprocess with a crop")
    return Batch(torch.stack(list(images)), tuple(sources))


def decode(logits: Tensor, batch: Batch, labels: tuple[str, ...] | None) -> list[Classification]:
    """Logits (N, K) to one result an image; softmax in float32."""
    probabilities = logits.detach().float().softmax(-1).cpu().numpy()
    names = labels or tuple(f"class {index}" for index in range(logits.shape[-1]))
    return [Classification(row, names, source) for row, source in zip(probabilities, batch.sources, strict=True)]


@torch.inference_mode()
def predict(model: ImageClassifier, batch: Batch) -> list[Classification]:
    """Forward and decode, on the model's device and in its dtype."""
    weight = next(model.parameters())
    labels = model.description.labels if model.description else None
    return decode(model(batch.images.to(weight.device, weight.dtype)), batch, labels)
