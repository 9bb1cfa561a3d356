"""What a Uni-Perceiver v2 knows of a picture: tokens of the picture as a whole, and of the regions that may be objects.

Li et al., "Uni-Perceiver v2", CVPR 2023, section 3.1, equations 2 to 4.  The paper is silent about widths and norms:
those here are our own choice.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.layers.queries.refinement import box_embedding
from internimage.multimodal.sequences.embeddings import START_STD, fixed_positions

_BOX_CODE = 512  # sines of a box, 128 of each of its four numbers
_MASK_SIDE = 28


class GlobalTokens(nn.Module):
    """A map of the picture, cell by cell, after a few tokens that each sum it up.

    Args:
        inputs: channels of the map.
        channels: of the tokens.
        heads: of the attention that sums up.
        pooled: tokens that sum up.
        span: where the end of a map's longer side is in the waves that say where a cell is.
    """

    def __init__(self, inputs: int, channels: int, heads: int, pooled: int, span: float) -> None:
        super().__init__()
        self.span = span
        self.project = nn.Linear(inputs, channels)
        self.norm = nn.LayerNorm(channels)
        self.queries = nn.Parameter(torch.randn(pooled, channels) * START_STD)
        self.pooling = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.token_type = nn.Parameter(torch.randn(channels) * START_STD)

    def forward(self, seen: Tensor, present: Tensor | None = None) -> Tensor:
        """A map (N, C, H, W) to tokens (N, pooled + H * W, channels).

        ``present`` (N, H * W) bool says which cells are of a picture; None for all.
        """
        height, width = seen.shape[2:]
        cells = self.project(seen.flatten(2).transpose(1, 2))
        scale = self.span / max(height, width)
        places = fixed_positions(height, width, cells.shape[2], scale, seen.device)
        cells = self.norm(cells + places.to(cells))
        queries = self.queries.expand(len(cells), -1, -1)
        padding = None if present is None else ~present
        pooled, _ = self.pooling(queries, cells, cells, key_padding_mask=padding, need_weights=False)
        return torch.cat([pooled, cells], dim=1) + self.token_type


class RegionTokens(nn.Module):
    """Queries of a detector as tokens: what they are, where, and of which outline.

    Boxes and masks have no gradient here; what the queries are has one.

    Args:
        inputs: channels of the queries.
        channels: of the tokens.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.content = nn.Linear(inputs, channels)
        self.box = nn.Linear(_BOX_CODE, channels)
        self.mask = nn.Linear(_MASK_SIDE**2, channels)
        self.norm = nn.LayerNorm(channels)
        self.token_type = nn.Parameter(torch.randn(channels) * START_STD)

    def forward(self, queries: Tensor, boxes: Tensor, masks: Tensor) -> Tensor:
        """Queries (N, Q, C), boxes (N, Q, 4) cxcywh and logits of masks (N, Q, H, W) to tokens (N, Q, channels)."""
        whole = self.content(queries) + self.box(box_code(boxes.detach()).to(queries.dtype))
        whole = whole + self.mask(mask_code(masks.detach()).to(queries.dtype))
        tokens: Tensor = self.norm(whole) + self.token_type
        return tokens


def box_code(boxes: Tensor) -> Tensor:
    """Sines of boxes (N, Q, 4) cxcywh: (N, Q, 512); of y, x, width, height a quarter each, as in DINO's decoder."""
    return box_embedding(boxes, _BOX_CODE // 2)


def mask_code(masks: Tensor) -> Tensor:
    """Logits of masks (N, Q, H, W) to their mean probabilities in 28 x 28 cells: (N, Q, 784)."""
    return F.adaptive_avg_pool2d(masks.sigmoid(), _MASK_SIDE).flatten(2)
