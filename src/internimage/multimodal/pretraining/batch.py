"""Views as a model takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from internimage.multimodal.models.m3i import ViewTargets
from internimage.multimodal.pretraining.dataset import ViewSample

_TENSORS = ("cells", "partners", "others", "placement", "labels", "text_keys")


@dataclass(frozen=True)
class Batch:
    """Pictures to learn from.

    Attributes:
        images: (N, C, S, S) float32, input views.
        targets: what they are to tell.
        unreadable: files left out in reading this batch.
    """

    images: Tensor
    targets: ViewTargets
    unreadable: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The batch on another device; texts are numbers for the model's table and stay."""
        return self._each(lambda tensor: tensor.to(device))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, from which it travels to a GPU while it computes."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, move: Callable[[Tensor], Tensor]) -> Batch:
        moved: dict[str, Any] = {name: move(getattr(self.targets, name)) for name in _TENSORS}
        return replace(self, images=move(self.images), targets=replace(self.targets, **moved))


def collate(samples: Sequence[ViewSample], asked: tuple[str, ...]) -> Batch:
    """A batch in which each picture is mixed with the next one, the last with the first.

    Args:
        samples: the pictures.
        asked: what is learnt, see :class:`ViewTargets`.
    """
    targets = ViewTargets(
        asked,
        torch.stack([sample.cells for sample in samples]),
        torch.arange(len(samples)).roll(-1),
        torch.stack([sample.other for sample in samples]),
        torch.stack([sample.placement for sample in samples]),
        torch.tensor([sample.label for sample in samples]),
        tuple(sample.text for sample in samples),
        torch.tensor([_key(sample.text or ()) for sample in samples]),
    )
    unreadable = tuple(name for sample in samples for name in sample.unreadable)
    return Batch(torch.stack([sample.image for sample in samples]), targets, unreadable)


def _key(text: Sequence[int]) -> int:
    """A number that equal texts share."""
    return int.from_bytes(hashlib.sha256(repr(tuple(text)).encode()).digest()[:8], "big", signed=True)
