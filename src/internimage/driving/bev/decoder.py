"""From a grid's features to boxes: queries with reference points (BEVFormer, Li et al., 2022, section 3.5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from internimage.driving.bev.code import CODE, PLACES
from internimage.driving.bev.grid import BEVGrid
from internimage.layers.attention import DeformableDecoderLayer
from internimage.layers.queries.refinement import focal_classifier, inverse_sigmoid, mlp

_EPSILON = 1e-5


@dataclass(frozen=True)
class Proposals:
    """Places where something may be, of N frames.

    Attributes:
        places: (N, P, 3) float32 x, y and z as shares of the grid's extent.
        there: (N, P) bool, which of them there are.
    """

    places: Tensor
    there: Tensor


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
        proposals: further queries of the first group, which begin where they are told to.
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
        proposals: int = 0,
    ) -> None:
        super().__init__()
        self.grid, self.queries, self.groups, self.proposals = grid, queries, groups, proposals
        self.layers = nn.ModuleList(
            DeformableDecoderLayer(channels, heads, 1, width, dropout=dropout) for _ in range(layers)
        )
        self.reference = nn.Linear(channels, len(PLACES))
        self.classifiers = nn.ModuleList(classifier(channels, num_classes) for _ in range(layers))
        self.regressors = nn.ModuleList(mlp(channels, channels, channels, CODE) for _ in range(layers))
        self.query_embedding = nn.Embedding(groups * queries, 2 * channels)
        if proposals:
            self.proposal_embedding = nn.Embedding(proposals, 2 * channels)
            self.placing = mlp(len(PLACES), channels, channels)

    def forward(self, bev: Tensor, proposals: Proposals | None = None, *, last: bool = False) -> tuple[Tensor, Tensor]:
        """Features (N, cells, C) to class logits (L, N, Q, K) and codes (L, N, Q, 10), float32, metres.

        In training Q are the queries of all groups, one group after the other; they do not see other groups.  After
        them come the ``proposals`` of the first group; one that is not there begins at a place that was learnt.

        A layer's codes are places around the reference points that it was given; gradients of later layers do not reach
        these.  With ``last``, those of the last layer alone, L = 1.
        """
        grid, steps = self.grid, len(self.layers)
        shape = [(grid.height, grid.width)]
        apart = self.apart() if self.training and self.groups > 1 else None
        position, queries, reference = self.asked(len(bev), proposals)
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

    def asked(self, frames: int, proposals: Proposals | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Position and content of the queries, (frames, Q, C) each, and where they begin, (frames, Q, 3) shares."""
        count = self.groups * self.queries if self.training else self.queries
        position, queries = self.query_embedding.weight[:count].chunk(2, dim=1)
        reference = self.reference(position).float().sigmoid()
        position, queries, reference = (one.expand(frames, -1, -1) for one in (position, queries, reference))
        if not self.proposals:
            return position, queries, reference
        own, content = self.proposal_embedding.weight.chunk(2, dim=1)
        places = self.reference(own).float().sigmoid()
        own, content, places = (one.expand(frames, -1, -1) for one in (own, content, places))
        if proposals is not None:
            there = proposals.there[..., None]
            told = self.placing(inverse_sigmoid(proposals.places, _EPSILON).to(own.dtype))
            own, places = torch.where(there, told, own), torch.where(there, proposals.places, places)
        pairs = ((position, own), (queries, content), (reference, places))
        position, queries, reference = (torch.cat(pair, dim=1) for pair in pairs)
        return position, queries, reference

    def apart(self) -> Tensor:
        """(1, Q, Q), true between queries of one group."""
        group = torch.arange(self.groups, device=self.query_embedding.weight.device).repeat_interleave(self.queries)
        group = torch.cat([group, group.new_zeros(self.proposals)])
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
