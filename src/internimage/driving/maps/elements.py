"""From a grid's features to elements of so many points each: a query a point, made of its element and its place in it.

Liao et al., MapTR, ICLR 2023, https://arxiv.org/abs/2208.14437, section 3.2; with two points an element it is the
detector of Liu et al., VectorMapNet, ICML 2023, https://arxiv.org/abs/2206.08920, section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from internimage.driving.maps.canvas import Canvas
from internimage.layers.attention import Attention, DeformableAttention, FeedForward, dropped
from internimage.layers.queries.refinement import focal_classifier, inverse_sigmoid, mlp

_EPSILON = 1e-5


class PreNormDecoderLayer(nn.Module):
    """Self-attention of queries, deformable attention to the grid, two linear layers; each is given what is normalised.

    Args:
        channels: C.
        heads: divide the channels.
        width: of the two linear layers.
        dropout: in training.
    """

    def __init__(self, channels: int, heads: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.self_attention = Attention(channels, heads, dropout=dropout)
        self.cross_attention = DeformableAttention(channels, heads, 1)
        self.feed_forward = FeedForward(channels, width, dropout=dropout)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(
        self, queries: Tensor, position: Tensor, reference: Tensor, cells: Tensor, shape: tuple[int, int]
    ) -> Tensor:
        """Queries (N, Q, C), to which ``position`` is added where they ask, at places (N, Q, 2) of cells (N, S, C)."""
        normed = self.norm1(queries)
        placed = normed + position
        queries = queries + dropped(self.self_attention(placed, placed, normed), self.dropout, self.training)
        asked = self.norm2(queries) + position
        sampled = self.cross_attention(asked, reference[:, :, None], cells, [shape])
        queries = queries + dropped(sampled, self.dropout, self.training)
        return queries + dropped(self.feed_forward(self.norm3(queries)), self.dropout, self.training)


class PointDecoder(nn.Module):
    """Features of a grid to elements.

    Args:
        canvas: what the points lie in.
        inputs: channels of the cells.
        channels: C of the queries.
        heads: divide the channels.
        layers: how many, each of which refines the places of the one before it.
        width: of the two linear layers in each layer.
        elements, points: E elements of P points each.
        num_classes: K.
        dropout: in training.
    """

    def __init__(
        self,
        canvas: Canvas,
        inputs: int,
        channels: int,
        heads: int,
        layers: int,
        width: int,
        elements: int,
        points: int,
        num_classes: int,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.canvas, self.points = canvas, points
        self.project = nn.Linear(inputs, channels)
        self.layers = nn.ModuleList(PreNormDecoderLayer(channels, heads, width, dropout) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.reference = nn.Linear(channels, 2)
        self.merge = nn.ModuleList(mlp(self._merged * channels, channels, channels) for _ in range(layers))
        self.classifiers = nn.ModuleList(focal_classifier(channels, num_classes) for _ in range(layers))
        self.regressors = nn.ModuleList(mlp(channels, channels, channels, 2) for _ in range(layers))
        self.element_embedding = nn.Embedding(elements, 2 * channels)
        self.point_embedding = nn.Embedding(points, 2 * channels)

    @property
    def _merged(self) -> int:
        """Of how many points a class sees the features apart: of two both, of more the mean."""
        return 2 if self.points == 2 else 1

    def forward(self, bev: Tensor, *, last: bool = False) -> tuple[Tensor, Tensor]:
        """Features (N, cells, inputs) to class logits (L, N, E, K) and points (L, N, E, P, 2), float32.

        Points are shares of the canvas.  Gradients of later layers do not reach the places that a layer began with.
        With ``last``, what the last layer gives alone, L = 1.
        """
        grid = self.canvas.grid
        cells = self.project(bev)
        embedding = (self.element_embedding.weight[:, None] + self.point_embedding.weight).flatten(0, 1)
        position, queries = (one.expand(len(bev), -1, -1) for one in embedding.chunk(2, dim=1))
        places = self.reference(position).float().sigmoid()
        all_logits, all_points = [], []
        steps = zip(self.layers, self.norms, self.merge, self.classifiers, self.regressors, strict=True)
        for number, (layer, norm, merge, classify, regress) in enumerate(steps, 1):
            queries = layer(queries, position, self.canvas.grid_shares(places), cells, (grid.height, grid.width))
            features = norm(queries)
            places = (regress(features).float() + inverse_sigmoid(places, _EPSILON)).sigmoid()
            if not last or number == len(self.layers):
                all_logits.append(classify(merge(self._of_elements(features))).float())
                all_points.append(places.unflatten(1, (-1, self.points)))
            places = places.detach()
        return torch.stack(all_logits), torch.stack(all_points)

    def _of_elements(self, features: Tensor) -> Tensor:
        """What the class of an element is told from, (N, E, C) or (N, E, 2 C)."""
        each = features.unflatten(1, (-1, self.points))
        return each.flatten(2) if self._merged > 1 else each.mean(2)
