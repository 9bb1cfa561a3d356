"""Attention of a grid's cells to themselves and to what was seen before (BEVFormer, Li et al., 2022, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from internimage.layers.attention import first_offsets
from internimage.ops import linear, ms_deform_attn

_QUEUES = 2  # what was before, and what is now
_STEP = 0.7  # cells between the points of a head, the first of which begin at the cell itself


class TemporalAttention(nn.Module):
    """Each cell samples a few points of the grid as it was, and a few of it as it is; the mean of both.

    Args:
        channels: C.
        heads: divide the channels.
        points: that a head samples in each of the two.
        values_twice: whether values go through their linear layer twice, as in the network released for OpenLane-V2.
    """

    def __init__(self, channels: int, heads: int, points: int = 4, *, values_twice: bool = False) -> None:
        super().__init__()
        self.values_twice = values_twice
        self.heads, self.points = heads, points
        self.sampling_offsets = nn.Linear(2 * channels, heads * _QUEUES * points * 2)
        self.attention_weights = nn.Linear(2 * channels, heads * _QUEUES * points)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.attention_weights.bias)
        with torch.no_grad():
            # Published: from 1 cell on.  What moved by less, or not at all, would be looked past; in short training
            # nothing was learnt of how fast things move.
            far = first_offsets(heads, _QUEUES, points)
            self.sampling_offsets.bias.copy_((_STEP * (far - far[..., :1, :])).flatten())
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, placed: Tensor, past: Tensor, now: Tensor, references: Tensor, shape: tuple[int, int]) -> Tensor:
        """What is to be added to the cells.

        Args:
            placed: (N, Q, C) the cells, with their position added.
            past: (N, Q, C) the grid as it was; the same tensor as ``now`` where nothing was before.
            now: (N, Q, C) the grid as it is.
            references: (N or 1, 2, Q, 2) x and y of each cell in ``past`` and in ``now``, shares of the grid.
            shape: (height, width) of the grid.

        Returns:
            (N, Q, C).
        """
        both = torch.cat([past, placed], dim=-1)
        offsets = linear(self.sampling_offsets, both).unflatten(-1, (self.heads, _QUEUES, self.points, 2)).movedim(3, 1)
        weights = linear(self.attention_weights, both).unflatten(-1, (self.heads, _QUEUES, self.points)).movedim(3, 1)
        extent = torch.tensor(shape[::-1], device=offsets.device)
        location = references[:, :, :, None, None] + offsets / extent
        before = self._values(past)
        after = before if past is now else self._values(now)
        values = torch.stack([before, after], dim=1).flatten(0, 1).unflatten(-1, (self.heads, -1))
        location, weights = (one.flatten(0, 1).unsqueeze(3) for one in (location, weights.softmax(-1)))
        sampled = ms_deform_attn(values, [shape], location, weights).unflatten(0, (-1, _QUEUES))
        return linear(self.output_proj, sampled.mean(1))

    def _values(self, cells: Tensor) -> Tensor:
        values = linear(self.value_proj, cells)
        return linear(self.value_proj, values) if self.values_twice else values
