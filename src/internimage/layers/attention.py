"""Parts of transformers on feature maps: sine embeddings, attention, deformable attention, encoder and decoder layers.

Post-norm throughout: what a layer adds is added, then normalised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.ops import linear, ms_deform_attn, two_linear

_BASE = 10_000.0
_EPSILON = 1e-6


def sine_position_embedding(height: int, width: int, channels: int, device: torch.device | None = None) -> Tensor:
    """Sines and cosines of a pixel's row, then of its column: (channels, height, width) float32.

    Rows and columns are counted from 1 and scaled to 2 pi at the last one (Carion et al., DETR, 2020, section A.4).
    """
    rows, columns = (torch.ones(1, extent, dtype=torch.bool, device=device) for extent in (height, width))
    return padded_sine_position_embedding(rows, columns, channels)[0]


def padded_sine_position_embedding(
    rows: Tensor, columns: Tensor, channels: int, base: float = _BASE, offset: float = 0.0
) -> Tensor:
    """As :func:`sine_position_embedding`, for images that fill the first rows and columns of a map.

    Args:
        rows, columns: (N, H) and (N, W) bool, which of them belong to each image; the last one is at 2 pi.
        channels: of the result, a multiple of 4.
        base: the longest wave over the shortest.
        offset: added to the numbers of rows and columns.

    Returns:
        (N, channels, H, W).
    """
    half = channels // 2
    planes = []
    for inside, other, along in ((rows, columns, 2), (columns, rows, 3)):
        position = inside.cumsum(1, dtype=torch.float32)
        wave = (
            sine_embedding((position + offset) / (position[:, -1:] + _EPSILON), half, base)
            .transpose(1, 2)
            .unsqueeze(5 - along)
        )
        beside = sine_embedding(position.new_zeros(1), half, base).reshape(1, half, 1, 1)
        planes.append(torch.where(other[:, None].unsqueeze(along), wave, beside))
    return torch.cat(planes, dim=1)


def sine_embedding(share: Tensor, channels: int, base: float = _BASE) -> Tensor:
    """Sines and cosines in turn, of ever longer waves, the shortest of length 1: (...) to (..., channels)."""
    frequency = base ** (2 * (torch.arange(channels, device=share.device) // 2) / channels)
    angle = (share * (2 * math.pi))[..., None] / frequency
    return torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], dim=-1).flatten(-2)


def centres(shapes: Sequence[tuple[int, int]], device: torch.device | None = None) -> Tensor:
    """Centres (x, y) of the pixels of all levels, row by row, as shares of width and height: (S, 2) float32."""
    grids = []
    for height, width in shapes:
        y = (torch.arange(height, dtype=torch.float32, device=device) + 0.5) / height
        x = (torch.arange(width, dtype=torch.float32, device=device) + 0.5) / width
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        grids.append(torch.stack([columns, rows], dim=-1).reshape(-1, 2))
    return torch.cat(grids)


class Attention(nn.Module):
    """Attention of several heads (Vaswani et al., 2017), with a mask that all heads share.

    Args:
        channels: C of queries, keys, values and result.
        heads: divide the channels.
        dropout: share of the attention weights that are dropped in training.
    """

    def __init__(self, channels: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Queries (N, Q, C), keys and values (N, S, C) to (N, Q, C).

        ``attention_mask`` (N, Q, S) bool is true where a query attends to a key.
        """
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            F.linear(x, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        mask = None if attention_mask is None else attention_mask[:, None]
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        result: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return result


def first_offsets(heads: int, levels: int, points: int) -> Tensor:
    """Where deformable attention looks at first, in pixels: (heads, levels, points, 2) x and y.

    A head looks in a direction of its own, point p at p + 1 pixels.
    """
    angle = torch.arange(heads, dtype=torch.float32) * (2 * math.pi / heads)
    direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
    direction = direction / direction.abs().max(-1, keepdim=True).values
    reach = torch.arange(1, points + 1, dtype=torch.float32)
    return direction[:, None, None] * reach[None, None, :, None].expand(1, levels, points, 1)


class DeformableAttention(nn.Module):
    """Each query samples a few points around its reference point on every level.

    Zhu et al., Deformable DETR (2021), section 4.1.

    Args:
        channels: C.
        heads: divide the channels.
        levels, points: points that a head samples on each level.
        softmax: whether the weights of a head sum to one.
    """

    def __init__(self, channels: int, heads: int, levels: int, points: int = 4, *, softmax: bool = True) -> None:
        super().__init__()
        self.grid = heads, levels, points
        self.softmax = softmax
        self.sampling_offsets = nn.Linear(channels, heads * levels * points * 2)
        self.attention_weights = nn.Linear(channels, heads * levels * points)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.attention_weights.bias)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(first_offsets(heads, levels, points).flatten())
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        query: Tensor,
        reference_points: Tensor,
        value: Tensor,
        shapes: Sequence[tuple[int, int]],
        padding: Tensor | None = None,
    ) -> Tensor:
        """Queries (N, Q, C) at ``reference_points`` of the maps ``value`` (N, S, C) to (N, Q, C).

        Args:
            query: (N, Q, C).
            reference_points: (N or 1, Q, L, 2) points (x, y), or (N or 1, Q, L, 4) boxes (cxcywh), relative to a
                level's width and height.
            value: (N, S, C), the pixels of all levels one after the other.
            shapes: (height, width) of each level.
            padding: (N, S) bool, pixels that count as zero.
        """
        return self.sample(query, reference_points, self.values(value, padding), shapes)

    def values(self, value: Tensor, padding: Tensor | None = None) -> Tensor:
        """What queries sample of maps (N, S, C), (N, S, heads, C / heads); see :meth:`forward`."""
        values = linear(self.value_proj, value)
        if padding is not None:
            values = values.masked_fill(padding[..., None], 0.0)
        return values.unflatten(-1, (self.grid[0], -1))

    def sample(
        self, query: Tensor, reference_points: Tensor, values: Tensor, shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """As :meth:`forward`, of the same :meth:`values` as often as one likes."""
        heads, levels, points = self.grid
        offsets = linear(self.sampling_offsets, query).unflatten(-1, (heads, levels, points, 2))
        weights = linear(self.attention_weights, query).unflatten(-1, (heads, levels * points))
        weights = (weights.softmax(-1) if self.softmax else weights).unflatten(-1, (levels, points))
        if reference_points.shape[-1] == 2:
            # whole numbers, which exports keep as sizes of the picture
            extent = torch.tensor([(width, height) for height, width in shapes], device=query.device)
            pixel = extent[:, None].to(torch.promote_types(query.dtype, torch.float32)).reciprocal()
        else:
            pixel = reference_points[:, :, None, :, None, 2:] * (0.5 / points)
        location = torch.addcmul(reference_points[:, :, None, :, None, :2], offsets, pixel)
        return linear(self.output_proj, ms_deform_attn(values, shapes, location, weights))


def dropped(x: Tensor, rate: float, training: bool) -> Tensor:
    """Dropout that leaves the random generator alone where there is none."""
    return F.dropout(x, rate) if rate and training else x


class FeedForward(nn.Module):
    """Two linear layers around a ReLU; ``dropout`` acts between them."""

    def __init__(self, channels: int, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.linear1 = nn.Linear(channels, width)
        self.activation = nn.ReLU()
        self.linear2 = nn.Linear(width, channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.dropout and self.training:
            return linear(self.linear2, F.dropout(linear(self.linear1, x, self.activation), self.dropout))
        return two_linear(self.linear1, self.activation, self.linear2, x)


class SplitFeedForward(nn.Module):
    """The same sum in parts, each as wide as the whole divided by their number; InternImage-G's detector has it so."""

    def __init__(self, channels: int, width: int, parts: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.activation = nn.ReLU()
        self.linear1 = nn.ModuleList(nn.Linear(channels, width // parts) for _ in range(parts))
        self.linear2 = nn.ModuleList(nn.Linear(width // parts, channels, bias=False) for _ in range(parts))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.bias
        for first, second in zip(self.linear1, self.linear2, strict=True):
            assert isinstance(first, nn.Linear)
            assert isinstance(second, nn.Linear)
            result = result + two_linear(first, self.activation, second, x)
        return result


def feed_forward(channels: int, width: int, parts: int = 1, dropout: float = 0.0) -> nn.Module:
    """A :class:`FeedForward`, in one or more parts; only one in one part has dropout."""
    return FeedForward(channels, width, dropout=dropout) if parts == 1 else SplitFeedForward(channels, width, parts)


class DeformableEncoderLayer(nn.Module):
    """Deformable attention of all pixels of all levels among themselves, then two linear layers.

    Args:
        channels, heads, levels, softmax: see :class:`DeformableAttention`.
        width, parts: of the two linear layers, see :func:`feed_forward`.
    """

    def __init__(
        self, channels: int, heads: int, levels: int, width: int, parts: int = 1, *, softmax: bool = True
    ) -> None:
        super().__init__()
        self.attention = DeformableAttention(channels, heads, levels, softmax=softmax)
        self.feed_forward = feed_forward(channels, width, parts)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)

    def forward(
        self,
        pixels: Tensor,
        position: Tensor,
        reference_points: Tensor,
        shapes: Sequence[tuple[int, int]],
        padding: Tensor | None = None,
    ) -> Tensor:
        """Pixels (N, S, C) of all levels; ``position`` is added to the queries alone."""
        pixels = self.norm1(pixels + self.attention(pixels + position, reference_points, pixels, shapes, padding))
        result: Tensor = self.norm2(pixels + self.feed_forward(pixels))
        return result


class DeformableDecoderLayer(nn.Module):
    """Self-attention of queries, deformable attention from their boxes to the pixels, then two linear layers.

    Args:
        channels, heads, levels: see :class:`DeformableAttention`.
        width, parts: of the two linear layers, see :func:`feed_forward`.
        dropout: in training, of the attention weights between queries, inside the linear layers and of all that is
            added to the queries.
    """

    def __init__(
        self, channels: int, heads: int, levels: int, width: int, parts: int = 1, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.self_attention = Attention(channels, heads, dropout=dropout)
        self.cross_attention = DeformableAttention(channels, heads, levels)
        self.feed_forward = feed_forward(channels, width, parts, dropout)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(
        self,
        queries: Tensor,
        position: Tensor,
        reference_points: Tensor,
        pixels: Tensor,
        shapes: Sequence[tuple[int, int]],
        padding: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Queries (N, Q, C), to which ``position`` (N, Q, C) is added where they are queries or keys.

        ``reference_points`` are (N, Q, L, 4) boxes or (N, Q, L, 2) points; ``attention_mask`` (1, Q, Q) is that of the
        self-attention.
        """
        placed = queries + position
        mixed = self.self_attention(placed, placed, queries, attention_mask)
        queries = self.norm1(queries + dropped(mixed, self.dropout, self.training))
        sampled = self.cross_attention(queries + position, reference_points, pixels, shapes, padding)
        queries = self.norm2(queries + dropped(sampled, self.dropout, self.training))
        result: Tensor = self.norm3(queries + dropped(self.feed_forward(queries), self.dropout, self.training))
        return result
