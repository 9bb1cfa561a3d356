"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from internimage.training.distributed import local_tensors


class MovingAverage:
    """Averages of a model's floating tensors, buffers included; of this process's part where the model is sharded.

    Args:
        model: the one to follow.
        decay: weight of the past in each step.
        warmup: let the decay grow as (1 + n) / (10 + n) towards ``decay``, so that short runs are not dominated by the
            initial weights; without, it is ``decay`` from the first step on, as in the published runs.
    """

    def __init__(self, model: nn.Module, decay: float, *, warmup: bool = True) -> None:
        self.model = model
        self.decay = decay
        self.warmup = warmup
        self.updates = 0
        self.tensors = {name: tensor.float().clone() for name, tensor in self._followed().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        present = self._followed()
        torch._foreach_lerp_(
            list(self.tensors.values()), [present[name].float() for name in self.tensors], weight=1.0 - decay
        )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model has the averages for weights."""
        present = self._followed()
        saved = {name: tensor.clone() for name, tensor in present.items()}
        self._write(present, self.tensors)
        try:
            yield
        finally:
            self._write(present, saved)

    def load(self, tensors: dict[str, Tensor], updates: int) -> None:
        """Go on from saved ``tensors`` and ``updates``."""
        self._write(self.tensors, tensors)
        self.updates = updates

    def _followed(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in local_tensors(self.model).items() if tensor.is_floating_point()}

    @staticmethod
    @torch.no_grad()
    def _write(targets: dict[str, Tensor], values: dict[str, Tensor]) -> None:
        for name, tensor in targets.items():
            tensor.copy_(values[name])
