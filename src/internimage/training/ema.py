"""Exponential moving average of the weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


class MovingAverage:
    """Keeps a copy of a model whose floating tensors follow the model's, buffers included.

    The decay grows as (1 + n) / (10 + n) towards its limit, so that short runs are not dominated by initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.model = deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take one step towards the weights of ``model``."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        source = model.state_dict()
        pairs = [(average, source[name]) for name, average in self.model.state_dict().items()]
        floating = [(a, s.to(a.dtype)) for a, s in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floating], [s for _, s in floating], 1.0 - decay)
        for average, value in pairs:
            if not average.is_floating_point():
                average.copy_(value)
