"""Attention of a grid's cells to the cameras that see them (BEVFormer, Li et al., 2022, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from internimage.driving.bev.projection import Sight
from internimage.errors import ConfigError
from internimage.layers.attention import first_offsets
from internimage.ops import linear, ms_deform_attn


class SpatialAttention(nn.Module):
    """Each cell samples the maps of the cameras that see a point above it, around where they see its points.

    Nothing is computed for a cell and a camera that does not see it, however many samples and cameras there are.  All
    points of a cell are sampled in a camera that sees one of them; those outside its picture give zeros.

    Args:
        channels: C.
        heads: divide the channels.
        levels: of a camera's maps.
        points: that a head samples on each level, a multiple of ``pillars``: point k around where point k % pillars is.
        pillars: points above a cell.
    """

    def __init__(self, channels: int, heads: int, levels: int, points: int, pillars: int) -> None:
        super().__init__()
        if points % pillars:
            raise ConfigError(f"{points} points a level; expected a multiple of the {pillars} points above a cell")
        self.grid = heads, levels, points
        self.pillars = pillars
        self.sampling_offsets = nn.Linear(channels, heads * levels * points * 2)
        self.attention_weights = nn.Linear(channels, heads * levels * points)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.attention_weights.bias)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(first_offsets(*self.grid).flatten())
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, query: Tensor, features: Tensor, shapes: Sequence[tuple[int, int]], sight: Sight) -> Tensor:
        """What is to be added to the cells.

        Args:
            query: (N, Q, C) the cells.
            features: (N * K, S, C) pixels of all levels of K cameras.
            shapes: (height, width) of each level.
            sight: what the cameras see, of as many samples and cameras.

        Returns:
            (N, Q, C).
        """
        heads, levels, points = self.grid
        flat = query.flatten(0, 1)
        seen = flat.index_select(0, sight.cells)
        offsets = linear(self.sampling_offsets, seen).unflatten(-1, (heads, levels, points // self.pillars, -1, 2))
        weights = linear(self.attention_weights, seen).unflatten(-1, (heads, levels * points)).softmax(-1)
        extent = torch.tensor([(width, height) for height, width in shapes], device=seen.device)
        location = (sight.places[:, None, None, None] + offsets / extent[:, None, None]).flatten(3, 4)
        values = linear(self.value_proj, features).unflatten(-1, (heads, -1))
        each = zip(
            values.split(1),
            location.split(sight.counts),
            weights.unflatten(-1, (levels, points)).split(sight.counts),
            strict=True,
        )
        sampled = torch.cat([ms_deform_attn(own, shapes, place[None], weight[None])[0] for own, place, weight in each])
        total = torch.zeros_like(flat).index_add(0, sight.cells, sampled.to(flat.dtype))
        mean = total / sight.cameras[:, None].to(flat.dtype)
        return linear(self.output_proj, mean).view_as(query)
