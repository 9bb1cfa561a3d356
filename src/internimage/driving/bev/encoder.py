"""From maps of several cameras to features of a grid on the ground (BEVFormer, Li et al., 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.history import turned
from internimage.driving.bev.inputs import Views
from internimage.driving.bev.projection import Sight, look
from internimage.driving.bev.spatial_attention import SpatialAttention
from internimage.driving.bev.temporal_attention import TemporalAttention
from internimage.driving.geometry.motion import CAN_BUS
from internimage.errors import ConfigError
from internimage.layers.attention import FeedForward, dropped

_LEVELS = 4  # that there are embeddings of, at least: the released models of one level have four as well


@dataclass(frozen=True)
class BEVEncoderConfig:
    """Architecture of an encoder.

    Attributes:
        grid: the cells.
        layers: how many.
        heads: of every attention; divide the channels.
        points: that a head samples on each level of a camera's maps, a multiple of the grid's ``pillars``.
        width: of the two linear layers in each layer.
        dropout: in training, inside the linear layers and of all that is added to the cells.
        turning_point: (x, y) about which the history is turned, see :func:`internimage.driving.bev.history.turned`.
        both_shifted: whether attention in time looks for the present, too, where the past is, as released for
            occupancy.
        values_twice: see :class:`internimage.driving.bev.temporal_attention.TemporalAttention`.
        motion: whether all cells are told how the vehicle moved.
    """

    grid: BEVGrid = field(default_factory=BEVGrid)
    layers: int = 6
    heads: int = 8
    points: int = 8
    width: int = 512
    dropout: float = 0.1
    turning_point: tuple[float, float] | None = None
    both_shifted: bool = False
    values_twice: bool = False
    motion: bool = True

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "points", "width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if self.points % self.grid.pillars:
            raise ConfigError(f"points is {self.points}; expected a multiple of the grid's {self.grid.pillars} pillars")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; expected 0 <= dropout < 1")


class EncoderLayer(nn.Module):
    """Attention in time, attention in space, two linear layers."""

    def __init__(self, config: BEVEncoderConfig, channels: int, levels: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.temporal = TemporalAttention(channels, config.heads, values_twice=config.values_twice)
        self.spatial = SpatialAttention(channels, config.heads, levels, config.points, config.grid.pillars)
        self.feed_forward = FeedForward(channels, config.width, dropout=config.dropout)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(self, cells: Tensor, position: Tensor, before: Before, scene: Scene) -> Tensor:
        """Cells (N, Q, C), to which ``position`` (1, Q, C) is added where they ask about the past."""
        past, now = before.seen_with(cells)
        remembered = self.temporal(cells + position, past, now, before.references, before.shape)
        cells = self.norm1(cells + dropped(remembered, self.dropout, self.training))
        gathered = self.spatial(cells, scene.features, scene.shapes, scene.sight)
        cells = self.norm2(cells + dropped(gathered, self.dropout, self.training))
        result: Tensor = self.norm3(cells + dropped(self.feed_forward(cells), self.dropout, self.training))
        return result


@dataclass(frozen=True)
class Scene:
    """What cameras give.

    Attributes:
        features: (N * K, S, C) pixels of all levels.
        shapes: (height, width) of each level.
        sight: which cells they see, and where.
    """

    features: Tensor
    shapes: list[tuple[int, int]]
    sight: Sight


@dataclass(frozen=True)
class Before:
    """What attention in time looks at.

    Attributes:
        references: (N or 1, 2, Q, 2) each cell in the past and now.
        shape: (height, width) of the grid.
        past: (N, Q, C), turned; None where no sample has a past.
        first: (N, Q, C), the cells as they were before the first layer.
        continued: (N, 1, 1) bool, which samples have a past.
    """

    references: Tensor
    shape: tuple[int, int]
    past: Tensor | None
    first: Tensor
    continued: Tensor

    def seen_with(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Past and present of the layer that gets these cells.

        With a past, they are the same in all layers; without one, they are the layer's cells, twice.
        """
        if self.past is None:
            return cells, cells
        return torch.where(self.continued, self.past, cells), torch.where(self.continued, self.first, cells)


class BEVEncoder(nn.Module):
    """Maps of K cameras to a grid's features.

    Args:
        config: its architecture.
        channels: C of maps and cells, even.
        levels: maps of each camera.
        cameras: K.
    """

    def __init__(self, config: BEVEncoderConfig, channels: int, levels: int, cameras: int) -> None:
        super().__init__()
        if channels % (2 * config.heads):
            raise ConfigError(f"channels is {channels}; expected a multiple of twice the {config.heads} heads")
        self.config = config
        grid = config.grid
        self.rows = nn.Embedding(grid.height, channels // 2)
        self.columns = nn.Embedding(grid.width, channels // 2)
        self.level_embedding = nn.Parameter(torch.randn(max(levels, _LEVELS), channels))
        self.camera_embedding = nn.Parameter(torch.randn(cameras, channels))
        self.layers = nn.ModuleList(EncoderLayer(config, channels, levels) for _ in range(config.layers))
        if config.motion:
            self.motion = nn.Sequential(
                nn.Linear(CAN_BUS, channels // 2),
                nn.ReLU(),
                nn.Linear(channels // 2, channels),
                nn.ReLU(),
                nn.LayerNorm(channels),
            )
        self.cells = nn.Embedding(grid.cells, channels)
        for embedding in (self.rows, self.columns):
            nn.init.uniform_(embedding.weight)

    def forward(self, maps: Sequence[Tensor], views: Views, history: Tensor | None = None) -> Tensor:
        """Features of the grid.

        Args:
            maps: (N * K, C, H_i, W_i) of each level, of ``views.images``.
            views: where the cameras are and how the vehicle moved.
            history: (N, cells, C) what this gave for the frames before; samples that are not ``continued`` ignore it.
                None for none.

        Returns:
            (N, cells, C).
        """
        first = self.cells.weight.expand(len(views), -1, -1)
        if self.config.motion:
            first = first + self.motion(views.can_bus.to(first.dtype))[:, None]
        position = self.position()
        scene, before = self.scene(maps, views), self.before(first, views, history)
        cells = first
        for layer in self.layers:
            cells = layer(cells, position, before, scene)
        return cells

    def position(self) -> Tensor:
        """(1, cells, C): half of it tells the column, half the row."""
        height, width = len(self.rows.weight), len(self.columns.weight)
        columns = self.columns.weight[None].expand(height, -1, -1)
        rows = self.rows.weight[:, None].expand(-1, width, -1)
        return torch.cat([columns, rows], dim=-1).flatten(0, 1)[None]

    def scene(self, maps: Sequence[Tensor], views: Views) -> Scene:
        """What the cameras give."""
        cameras = len(self.camera_embedding)
        shapes = [(one.shape[2], one.shape[3]) for one in maps]
        levels = [
            one.flatten(2).transpose(1, 2).unflatten(0, (-1, cameras)) + self.camera_embedding[:, None] + embedding
            for one, embedding in zip(maps, self.level_embedding, strict=False)
        ]
        features = torch.cat(levels, dim=2).flatten(0, 1)
        points = self.config.grid.points(features.device)
        size = (views.images.shape[-2], views.images.shape[-1])
        return Scene(features, shapes, look(points, views.lidar_to_pixels, views.present, size))

    def before(self, first: Tensor, views: Views, history: Tensor | None) -> Before:
        """What is known of the past, for cells (N, Q, C) before the first layer."""
        grid = self.config.grid
        shape, centres = (grid.height, grid.width), grid.centres(first.device)
        continued = views.continued[:, None, None]
        if history is None:
            return Before(centres[None, None].expand(1, 2, -1, -1), shape, None, first, continued)
        past = turned(history.to(first.dtype), views.turn, grid, self.config.turning_point)
        shift = torch.where(continued, views.shift[:, None].float(), 0.0)
        then, now = centres + shift, centres.expand(len(first), -1, -1)
        references = torch.stack([then, then if self.config.both_shifted else now], dim=1)
        return Before(references, shape, past, first, continued)
