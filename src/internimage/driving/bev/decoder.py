"""From a grid's features to boxes: queries with reference points (BEVFormer, Li et al., 2022, section 3.5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from internimage.driving.bev.code import CODE, PLACES
from internimage.driving.bev.grid import BEVGrid
from internimage.layers.attention import DeformableDecoderLayer
from internimage.layers.queries.refinement import focal_classifier, inverse_sigmoid, mlp

_EPSILON = 1e-5


class BoxDecoder(nn.Module):
    """Features of a grid to codes of boxes.

    Args:
        grid: the cells.
        channels: C.
        heads: divide the channels.
        layers: how many, each of which refines the places of the one before it.
        width: of the two linear layers in each layer.
        queries: boxes that are proposed.
        num_classes: K.
        groups: of queries in training, see :class:`internimage.driving.models.bevformer.BEVFormerConfig`.
        dropout: in training, see :class:`internimage.layers.attention.DeformableDecoderLayer`.
    """

    def __init__(
        self,
        grid: BEVGrid,
        channels: int,
        heads: int,
        layers: int,
        width: int,
        queries: int,
        num_classes: int,
        groups: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.grid, self.queries, self.groups = grid, queries, groups
        self.layers = nn.ModuleList(
            DeformableDecoderLayer(channels, heads, 1, width, dropout=dropout) for _ in range(layers)
        )
        self.reference = nn.Linear(channels, len(PLACES))
        self.classifiers = nn.ModuleList(classifier(channels, num_classes) for _ in range(layers))
        self.regressors = nn.ModuleList(mlp(channels, channels, channels, CODE) for _ in range(layers))
        self.query_embedding = nn.Embedding(groups * queries, 2 * channels)

    def forward(self, bev: Tensor, *, last: bool = False) -> tuple[Tensor, Tensor]:
        """Features (N, cells, C) to class logits (L, N, Q, K) and codes (L, N, Q, 10), float32, metres.

        In training Q are the queries of all groups, one group after the other; they do not see other groups.  A layer's
        codes are places around the reference points that it was given; gradients of later layers do not reach these.
        With ``last``, those of the last layer alone, L = 1.
        """
        grid, steps = self.grid, len(self.layers)
        shape = [(grid.height, grid.width)]
        asked = self.groups * self.queries if self.training else self.queries
        position, queries = self.query_embedding.weight[:asked].chunk(2, dim=1)
        apart = self.apart() if asked > self.queries else None
        reference = self.reference(position).float().sigmoid().expand(len(bev), -1, -1)
        position, queries = (one.expand(len(bev), -1, -1) for one in (position, queries))
        all_logits, all_codes = [], []
        for number, (layer, classify, regress) in enumerate(
            zip(self.layers, self.classifiers, self.regressors, strict=True), 1
        ):
            queries = layer(queries, position, reference[:, :, None, :2], bev, shape, attention_mask=apart)
            code = regress(queries).float()
            shares = (code[..., PLACES] + inverse_sigmoid(reference, _EPSILON)).sigmoid()
            if not last or number == steps:
                all_logits.append(classify(queries).float())
                all_codes.append(with_places(code, grid.metres(shares)))
            reference = shares.detach()
        return torch.stack(all_logits), torch.stack(all_codes)

    def apart(self) -> Tensor:
        """(1, Q, Q), true between queries of one group."""
        group = torch.arange(self.groups, device=self.query_embedding.weight.device).repeat_interleave(self.queries)
        return (group[:, None] == group)[None]


def classifier(channels: int, num_classes: int) -> nn.Sequential:
    """Two linear layers with norms and ReLUs, and one whose classes all start at a probability of 0.01."""
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.Linear(channels, channels), nn.LayerNorm(channels), nn.ReLU()]
    return nn.Sequential(*layers, focal_classifier(channels, num_classes))


def with_places(code: Tensor, places: Tensor) -> Tensor:
    """Codes (..., 10) whose centres are ``places`` (..., 3)."""
    x, y, z = places.unbind(-1)
    _, _, width, length, _, *others = code.unbind(-1)
    return torch.stack([x, y, width, length, z, *others], dim=-1)
