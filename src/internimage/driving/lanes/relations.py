"""Which lane goes on in which, and which is governed by what: every pair of two sets (OpenLane-V2's baseline, 2023).

Places of lanes: TopoMLP (Wu et al., ICLR 2024, https://arxiv.org/abs/2310.06753) adds them to what is known of lanes,
TopoLogic (Fu et al., NeurIPS 2024, https://arxiv.org/abs/2405.14747) asks how far the next one begins from the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from internimage.driving.lanes.curves import CONTROLS
from internimage.layers.queries.losses import FOCAL_ALPHA, FOCAL_GAMMA, mean_over_processes
from internimage.layers.queries.refinement import mlp


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
        prior: probability of every pair at the start; None for no such start.
    """

    def __init__(self, channels: int, width: int = 128, prior: float | None = None) -> None:
        super().__init__()
        self.rows = _perceptron(channels, channels, channels, width)
        self.columns = _perceptron(channels, channels, channels, width)
        self.classifier = _perceptron(2 * width, 2 * width, 2 * width, 1)
        if prior is not None:
            nn.init.constant_(self.classifier[-1].get_parameter("bias"), math.log(prior / (1 - prior)))

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


class LanePlaces(nn.Module):
    """What the places of lanes tell of what belongs together; no gradient goes back into them.

    Args:
        channels: C of lanes.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.controls = mlp(CONTROLS * 3, channels, channels)
        self.near = nn.Parameter(torch.tensor([4.0, 4.0]))  # the logit without a gap, and its fall with the gap

    def forward(self, lanes: Tensor, shares: Tensor) -> Tensor:
        """Features (N, Q, C) with what control points (N, Q, CONTROLS, 3), shares of the grid's extent, add to them."""
        controls: Tensor = self.controls((2 * shares.detach() - 1).flatten(2).to(lanes.dtype))
        return lanes + controls

    def follows(self, curves: Tensor) -> Tensor:
        """Logits (N, Q, Q) that the column's lane goes on where the row's ends, of control points in metres."""
        ends, starts = curves.detach()[:, :, -1].float(), curves.detach()[:, :, 0].float()
        gaps = (ends[:, :, None] - starts[:, None]).norm(dim=-1)
        return self.near[0] - self.near[1] * gaps.log1p()


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


def relation_loss(logits: Tensor, wanted: Sequence[Tensor], *, of_pairs: bool = True) -> Tensor:
    """Focal loss (alpha 0.25, gamma 2) of all pairs of all frames.

    Args:
        logits: (N, P, Q).
        wanted: (P, Q) of each frame, see :func:`related`.
        of_pairs: whether the sum is divided by the number of pairs, or by that of those that belong together.
    """
    from torchvision.ops import sigmoid_focal_loss

    pairs = torch.stack(list(wanted)).float()
    loss: Tensor = sigmoid_focal_loss(logits.float(), pairs, FOCAL_ALPHA, FOCAL_GAMMA, "mean" if of_pairs else "sum")
    return loss if of_pairs else loss / mean_over_processes(pairs.sum()).clamp(min=1)
