"""Traffic lights and signs in the front camera's picture: Deformable DETR with boxes that every layer refines.

Zhu et al., Deformable DETR, ICLR 2021, https://arxiv.org/abs/2010.04159, section A.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from internimage.layers.attention import (
    DeformableDecoderLayer,
    DeformableEncoderLayer,
    centres,
    padded_sine_position_embedding,
)
from internimage.layers.queries.refinement import focal_classifier, inverse_sigmoid, mlp
from internimage.layers.queries.two_stage import valid_pixels

_EPSILON = 1e-5
_OFFSET = -0.5  # rows and columns are counted from the middle of the first


class ElementDecoder(nn.Module):
    """Maps of a picture to boxes.

    Args:
        channels: C of the maps.
        heads: divide the channels.
        levels: maps.
        encoder_layers, decoder_layers: how many.
        width: of the two linear layers in each layer.
        queries: boxes that are proposed.
        num_classes: K.
        dropout: in training, see :class:`internimage.layers.attention.DeformableDecoderLayer`.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        levels: int,
        encoder_layers: int,
        decoder_layers: int,
        width: int,
        queries: int,
        num_classes: int,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.level_embedding = nn.Parameter(torch.randn(levels, channels))
        self.encoder = nn.ModuleList(
            DeformableEncoderLayer(channels, heads, levels, width) for _ in range(encoder_layers)
        )
        self.layers = nn.ModuleList(
            DeformableDecoderLayer(channels, heads, levels, width, dropout=dropout) for _ in range(decoder_layers)
        )
        self.reference = nn.Linear(channels, 2)
        self.classifiers = nn.ModuleList(focal_classifier(channels, num_classes) for _ in range(decoder_layers))
        self.regressors = nn.ModuleList(mlp(channels, channels, channels, 4) for _ in range(decoder_layers))
        self.query_embedding = nn.Embedding(queries, 2 * channels)

    def forward(
        self, maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]], extent: Sequence[int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What each layer gives.

        Args:
            maps: (N, C, H_i, W_i), fine to coarse.
            sizes: (height, width) of the pictures.
            extent: of the batch, padding included.

        Returns:
            (L, N, Q, K) class logits and (L, N, Q, 4) cxcywh relative to the picture, float32; (L, N, Q, C) features.
        """
        filled = valid_pixels(sizes, extent, maps)
        shapes = [(one.shape[2], one.shape[3]) for one in maps]
        shares = torch.stack([torch.stack([x.float().mean(1), y.float().mean(1)], 1) for y, x in filled], 1)
        padding = torch.cat([~(rows[:, :, None] & columns[:, None]).flatten(1) for rows, columns in filled], 1)
        pixels = self._encoded(maps, filled, shares, padding)
        position, queries = (one.expand(len(pixels), -1, -1) for one in self.query_embedding.weight.chunk(2, dim=1))
        reference = self.reference(position).float().sigmoid()
        logits, boxes, features = [], [], []
        for layer, classify, regress in zip(self.layers, self.classifiers, self.regressors, strict=True):
            points = reference[:, :, None] * shares.repeat(1, 1, reference.shape[-1] // 2)[:, None]
            queries = layer(queries, position, points, pixels, shapes, padding)
            start = inverse_sigmoid(reference, _EPSILON)
            start = torch.cat([start, torch.zeros_like(start)], dim=-1) if reference.shape[-1] == 2 else start
            found = (regress(queries).float() + start).sigmoid()
            logits.append(classify(queries).float())
            boxes.append(found)
            features.append(queries)
            reference = found.detach()
        return torch.stack(logits), torch.stack(boxes), torch.stack(features)

    def _encoded(
        self,
        maps: Sequence[Tensor],
        filled: Sequence[tuple[Tensor, Tensor]],
        shares: Tensor,
        padding: Tensor,
    ) -> Tensor:
        """Pixels (N, S, C) of all levels after they have looked at each other."""
        positions = [
            (padded_sine_position_embedding(rows, columns, one.shape[1], offset=_OFFSET) + own[:, None, None]).flatten(
                2
            )
            for one, (rows, columns), own in zip(maps, filled, self.level_embedding, strict=True)
        ]
        pixels = torch.cat([one.flatten(2) for one in maps], dim=2).transpose(1, 2)
        position = torch.cat(positions, dim=2).transpose(1, 2).to(pixels.dtype)
        shapes = [(one.shape[2], one.shape[3]) for one in maps]
        counts = torch.tensor([height * width for height, width in shapes], device=pixels.device)
        own = shares.repeat_interleave(counts, dim=1)  # how much of the level that a pixel is of its picture fills
        reference = (centres(shapes, pixels.device) / own)[:, :, None] * shares[:, None]
        for layer in self.encoder:
            pixels = layer(pixels, position, reference, shapes, padding)
        return pixels
