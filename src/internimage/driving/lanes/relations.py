"""Which lane goes on in which, and which is governed by what: every pair of two sets (OpenLane-V2's baseline, 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from internimage.layers.queries.losses import FOCAL_ALPHA, FOCAL_GAMMA


def _perceptron(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class RelationHead(nn.Module):
    """How surely each of one set of things belongs with each of another.

    Args:
        channels: C of both.
        width: of what is kept of each before they are put together.
    """

    def __init__(self, channels: int, width: int = 128) -> None:
        super().__init__()
        self.rows = _perceptron(channels, channels, channels, width)
        self.columns = _perceptron(channels, channels, channels, width)
        self.classifier = _perceptron(2 * width, 2 * width, 2 * width, 1)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Logits (N, P, Q) of features (N, P, C) and (N, Q, C)."""
        one, other = self.rows(rows), self.columns(columns)
        pairs = torch.cat(
            [
                one[:, :, None].expand(-1, -1, other.shape[1], -1),
                other[:, None].expand(-1, one.shape[1], -1, -1),
            ],
            dim=-1,
        )
        logits: Tensor = self.classifier(pairs).squeeze(-1)
        return logits


def related(truth: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], like: Tensor) -> Tensor:
    """(P, Q) of all predictions whether true things belong together: what is matched with none belongs to none.

    Args:
        truth: (G, H) whether the true things do.
        rows, columns: places of predictions, and the true things that they are matched with.
        like: (P, Q) logits.
    """
    wanted = torch.zeros_like(like)
    wanted[rows[0][:, None], columns[0][None]] = truth[rows[1][:, None], columns[1][None]].to(like.dtype)
    return wanted


def relation_loss(logits: Tensor, wanted: Sequence[Tensor]) -> Tensor:
    """Focal loss (alpha 0.25, gamma 2), a mean over all pairs of all frames.

    Args:
        logits: (N, P, Q).
        wanted: (P, Q) of each frame, see :func:`related`.
    """
    from torchvision.ops import sigmoid_focal_loss

    pairs = torch.stack(list(wanted)).float()
    loss: Tensor = sigmoid_focal_loss(logits.float(), pairs, FOCAL_ALPHA, FOCAL_GAMMA, "mean")
    return loss
