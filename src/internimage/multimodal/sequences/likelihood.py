"""How well an input and a target fit: cosines of their features, over a temperature of the kind of task.

Zhu et al., "Uni-Perceiver", CVPR 2022, section 3.1, equation 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Task: TypeAlias = Literal["img_cls", "video_cls", "text_mlm", "caption", "retrieve", "downstream", "objects"]
"""Tasks that have a temperature, as released files call them; "downstream" is that of questions; released files know
no objects."""

TASKS: tuple[str, ...] = ("img_cls", "video_cls", "text_mlm", "caption", "retrieve", "downstream")
_UNUSED = ("text_caption", "mlm", "tqa_mlm", "tqa_caption", "tqa_retrieve")  # in released files
_START = math.log(1 / 0.07)
_STEEPEST = 100.0


class Likelihood(nn.Module):
    """Outputs of the encoder to features, features to logits.

    Args:
        channels: width of both.
        released: whether there are also the temperatures of released files that nothing uses.
        tasks: that have a temperature.
    """

    def __init__(self, channels: int, *, released: bool = False, tasks: Sequence[str] = TASKS) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, channels)
        names = (*tasks, *_UNUSED) if released else tasks
        self.scales = nn.ParameterDict({name: nn.Parameter(torch.tensor(_START)) for name in names})

    def features(self, outputs: Tensor) -> Tensor:
        """(..., C) to vectors of length 1, (..., C)."""
        return F.normalize(self.project(self.norm(outputs)), dim=-1)

    def logits(self, task: Task, inputs: Tensor, targets: Tensor) -> Tensor:
        """Features (M, C) of inputs and (K, C) of targets to (M, K)."""
        return self.scale(task) * (inputs @ targets.T)

    def scale(self, task: Task) -> Tensor:
        """One over the temperature; 100 at most, where it learns nothing."""
        return self.scales[task].exp().clamp(max=_STEEPEST)
