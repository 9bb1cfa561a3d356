"""One task of one data set as a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from internimage.multimodal.sequences.targets import NamedObjects, WordTargets


@dataclass(frozen=True)
class Batch:
    """Pictures to learn from.

    Attributes:
        images: (N, C, H, W) float32.
        targets: what is to be learnt of them.
        task: number of the lesson.
        unreadable: files left out in reading this batch.
    """

    images: Tensor
    targets: WordTargets | NamedObjects
    task: int
    unreadable: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The batch on another device; words are numbers for the model's table and stay."""
        targets = self.targets
        if isinstance(targets, NamedObjects):
            targets = replace(targets, truth=[one.to(device) for one in targets.truth])
        return replace(self, images=self.images.to(device, non_blocking=True), targets=targets)

    def pin_memory(self) -> Batch:
        """The images in page-locked memory, from which they travel to a GPU while it computes."""
        return replace(self, images=self.images.pin_memory())
