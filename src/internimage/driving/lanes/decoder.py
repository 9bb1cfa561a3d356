"""From a grid's features to lanes: queries with reference points, a curve around each (OpenLane-V2's baseline)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from internimage.driving.bev.decoder import classifier
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.lanes.curves import CONTROLS
from internimage.layers.attention import DeformableDecoderLayer
from internimage.layers.queries.refinement import inverse_sigmoid, mlp

_EPSILON = 1e-5
_AXES = 3


class LaneDecoder(nn.Module):
    """Features of a grid to curves.

    Args:
        grid: the cells.
        channels: C.
        heads: divide the channels.
        layers: how many; all look around the same places.
        width: of the two linear layers in each layer.
        queries: lanes that are proposed.
        dropout: in training, see :class:`internimage.layers.attention.DeformableDecoderLayer`.
    """

    def __init__(
        self, grid: BEVGrid, channels: int, heads: int, layers: int, width: int, queries: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.grid = grid
        self.layers = nn.ModuleList(
            DeformableDecoderLayer(channels, heads, 1, width, dropout=dropout) for _ in range(layers)
        )
        self.reference = nn.Linear(channels, _AXES)
        self.classifiers = nn.ModuleList(classifier(channels, 1) for _ in range(layers))
        self.regressors = nn.ModuleList(mlp(channels, channels, channels, CONTROLS * _AXES) for _ in range(layers))
        self.query_embedding = nn.Embedding(queries, 2 * channels)

    def forward(self, bev: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (N, cells, C) to what each layer gives.

        Returns:
            (L, N, Q) logits of being a lane, float32; (L, N, Q, CONTROLS, 3) control points in metres, float32;
            (L, N, Q, C) features of the queries.
        """
        shape = [(self.grid.height, self.grid.width)]
        position, queries = (one.expand(len(bev), -1, -1) for one in self.query_embedding.weight.chunk(2, dim=1))
        reference = self.reference(position).float().sigmoid()
        around = inverse_sigmoid(reference, _EPSILON)[..., None, :]
        logits, curves, features = [], [], []
        for layer, classify, regress in zip(self.layers, self.classifiers, self.regressors, strict=True):
            queries = layer(queries, position, reference[:, :, None, :2], bev, shape)
            away = regress(queries).float().unflatten(-1, (CONTROLS, _AXES))
            logits.append(classify(queries).float().squeeze(-1))
            curves.append(self.grid.metres((away + around).sigmoid()))
            features.append(queries)
        return torch.stack(logits), torch.stack(curves), torch.stack(features)
