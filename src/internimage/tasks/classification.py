"""Image classification: batches, losses, results, accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from internimage.data.dataset import Sample
from internimage.data.samples import TimeAndPlace
from internimage.errors import InputSizeError
from internimage.images import ImageSource
from internimage.results import Classification


@dataclass(frozen=True)
class Batch:
    """Images of equal size.

    Attributes:
        images: (N, 3, H, W) floating, RGB, normalised.
        sources: where they came from.
        labels: (N,) int64 class numbers; None where they are not known.
        unreadable: files left out in reading this batch.
        temporal, spatial: (N, 4) and (N, 3), when and where the photos were taken, zeros where unknown; None for models
            that do not read them.
    """

    images: Tensor
    sources: tuple[ImageSource, ...]
    labels: Tensor | None = None
    unreadable: tuple[str, ...] = ()
    temporal: Tensor | None = None
    spatial: Tensor | None = None

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Batch:
        """The batch on another device, what the model reads in another dtype."""
        dtype = dtype or self.images.dtype
        images = self.images.to(device, dtype, non_blocking=True)
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        temporal = None if self.temporal is None else self.temporal.to(device, dtype, non_blocking=True)
        spatial = None if self.spatial is None else self.spatial.to(device, dtype, non_blocking=True)
        return replace(self, images=images, labels=labels, temporal=temporal, spatial=spatial)

    def pin_memory(self) -> Batch:
        """The images in page-locked memory, from which they travel to a GPU while it computes."""
        return replace(self, images=self.images.pin_memory())


def stack(
    images: Sequence[Tensor], sources: Sequence[ImageSource], taken: Sequence[TimeAndPlace | None] | None = None
) -> Batch:
    """A batch without labels from preprocessed images (3, H, W); ``taken`` is for models that read it."""
    if len({tuple(image.shape) for image in images}) != 1:
        raise InputSizeError("a batch for classification needs images of one size; preprocess with a crop")
    batch = Batch(torch.stack(list(images)), tuple(sources))
    if taken is None:
        return batch
    known = [each or TimeAndPlace() for each in taken]
    temporal, spatial = [each.temporal() for each in known], [each.spatial() for each in known]
    return replace(batch, temporal=torch.tensor(temporal), spatial=torch.tensor(spatial))


def decode(logits: Tensor, batch: Batch, labels: tuple[str, ...] | None) -> list[Classification]:
    """Logits (N, K) to one result an image; softmax in float32."""
    probabilities = logits.detach().float().softmax(-1).cpu().numpy()
    names = labels or tuple(f"class {index}" for index in range(logits.shape[-1]))
    return [Classification(row, names, source) for row, source in zip(probabilities, batch.sources, strict=True)]


@torch.inference_mode()
def predict(model: nn.Module, batch: Batch, labels: tuple[str, ...] | None) -> list[Classification]:
    """Forward and decode, on the model's device and in its dtype."""
    weight = next(model.parameters())
    moved = batch.to(weight.device, weight.dtype)
    return decode(_logits(model, moved.images, moved), moved, labels)


def _logits(model: nn.Module, images: Tensor, batch: Batch) -> Tensor:
    """Logits (N, K) of ``images``, which may be mixed ones, with the batch's time and place if it has them."""
    logits: Tensor = model(images) if batch.temporal is None else model(images, batch.temporal, batch.spatial)
    return logits


class ClassificationTask:
    """Single-label classification.

    Args:
        labels: names of the classes.
        label_smoothing: share of the target spread over all classes, in training.
        mix: mixup and cutmix, from images (N, 3, H, W) and labels (N,) to images and labels (N, K), in training.
        metadata: whether the model reads when and where a photo was taken.
    """

    best = "top1"
    ragged = False
    in_step = False

    def __init__(
        self,
        labels: tuple[str, ...],
        label_smoothing: float = 0.0,
        mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        *,
        metadata: bool = False,
    ) -> None:
        self.labels = labels
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

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        assert batch.labels is not None
        images, target = batch.images, batch.labels
        if not model.training:
            return {"cross_entropy": F.cross_entropy(_logits(model, images, batch).float(), target)}
        if self.mix is not None:
            images, target = self.mix(images, target)  # time and place stay the first image's, as in MetaFormer
        logits = _logits(model, images, batch).float()
        return {"cross_entropy": F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)}

    def predict(self, model: nn.Module, batch: Batch) -> list[Classification]:
        return predict(model, batch, self.labels)

    def metric(self) -> Accuracy:
        return Accuracy(len(self.labels))

    def draw(self, result: Classification) -> Image.Image:
        return result.draw()


class Accuracy:
    """Top-1, top-5 and mean per-class accuracy, cross-entropy, and the confusion matrix behind them."""

    def __init__(self, classes: int) -> None:
        self.confusion = np.zeros((classes, classes), np.int64)  # rows: truth, columns: prediction
        self.top5 = 0
        self.loss = 0.0

    def update(self, results: Sequence[Classification], batch: Batch) -> None:
        assert batch.labels is not None
        for result, label in zip(results, batch.labels.tolist(), strict=True):
            self.add(result, label)

    def add(self, result: Classification, label: int) -> None:
        """Count one image."""
        order = np.argsort(-result.probabilities, kind="stable")
        self.confusion[label, order[0]] += 1
        self.top5 += int(label in order[:5])
        self.loss -= float(np.log(max(float(result.probabilities[label]), 1e-12)))

    def state(self) -> tuple[Any, ...]:
        return self.confusion, self.top5, self.loss

    def merge(self, states: Sequence[tuple[Any, ...]]) -> None:
        self.confusion = np.sum([state[0] for state in states], axis=0)
        self.top5 = sum(state[1] for state in states)
        self.loss = float(sum(state[2] for state in states))

    def compute(self) -> dict[str, float]:
        """Shares in [0, 1]; the mean over classes leaves out classes without images."""
        total = int(self.confusion.sum())
        if not total:
            return {}
        correct, of_class = self.confusion.diagonal(), self.confusion.sum(1)
        seen = of_class > 0
        return {
            "top1": float(correct.sum() / total),
            "top5": self.top5 / total,
            "mean_class": float((correct[seen] / of_class[seen]).mean()),
            "cross_entropy": self.loss / total,
            "images": float(total),
        }
