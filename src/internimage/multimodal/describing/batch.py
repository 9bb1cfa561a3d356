"""Pictures with words as a model takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from internimage.multimodal.describing.dataset import WordSample
from internimage.multimodal.describing.settings import WordsAugmentation
from internimage.multimodal.sequences.targets import MaskedTexts, Questions, Sentences, WordTargets


@dataclass(frozen=True)
class Batch:
    """Pictures to learn from.

    Attributes:
        images: (N, C, H, W) float32.
        targets: their words.
        unreadable: files left out in reading this batch.
    """

    images: Tensor
    targets: WordTargets
    unreadable: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The batch on another device; words are numbers for the model's table and stay."""
        return replace(self, images=self.images.to(device))

    def pin_memory(self) -> Batch:
        """The images in page-locked memory, from which they travel to a GPU while it computes."""
        return replace(self, images=self.images.pin_memory())


def collate(samples: Sequence[WordSample], augmentation: WordsAugmentation, choices: Sequence[Sequence[int]]) -> Batch:
    """A batch; tasks without weight, or for which no picture has words, are left out.

    Args:
        samples: the pictures.
        augmentation: the weights.
        choices: ids of each answer that there is.
    """
    told = [(row, sample) for row, sample in enumerate(samples) if sample.caption and len(sample.caption) > 1]
    asked = [(row, *question) for row, sample in enumerate(samples) for question in sample.questions]
    rows = [row for row, _ in told]
    captions = [sample.caption or [] for _, sample in told]
    masked = [sample.masked for _, sample in told if sample.masked is not None]
    targets = WordTargets(
        captions=Sentences(captions, rows, label_smoothing=augmentation.label_smoothing)
        if told and augmentation.captions
        else None,
        pairs=Sentences(captions, rows) if len(told) > 1 and augmentation.pairs else None,
        questions=Questions(
            [text for _, text, _ in asked],
            choices,
            [answer for _, _, answer in asked],
            [row for row, _, _ in asked],
            augmentation.label_smoothing,
        )
        if asked and augmentation.questions
        else None,
        masked=MaskedTexts(*map(list, zip(*masked, strict=True))) if masked and augmentation.masked else None,
    )
    unreadable = tuple(name for sample in samples for name in sample.unreadable)
    return Batch(torch.stack([sample.image for sample in samples]), targets, unreadable)
