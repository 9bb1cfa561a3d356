"""Which query learns which lane, and by what (OpenLane-V2's baseline, 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from internimage.layers.queries.hungarian import hungarian
from internimage.layers.queries.losses import FOCAL_ALPHA, FOCAL_GAMMA, mean_over_processes

_CLASS, _CURVE = 1.5, 0.0075  # of costs and losses; metres
_TINY = 1e-12


@torch.no_grad()
def match_lanes(logits: Tensor, curves: Tensor, truth: Sequence[Tensor]) -> list[list[tuple[Tensor, Tensor]]]:
    """Of each layer and frame the places of the queries that learn a lane, and of these lanes.

    Args:
        logits: (L, N, Q).
        curves: (L, N, Q, CONTROLS, 3) metres.
        truth: of each frame (G, CONTROLS, 3).
    """
    matched = []
    for scores, found in zip(logits, curves, strict=True):
        row = []
        for score, curve, true in zip(scores, found, truth, strict=True):
            chance = score.sigmoid()
            hit = -(chance + _TINY).log() * FOCAL_ALPHA * (1 - chance) ** FOCAL_GAMMA
            miss = -(1 - chance + _TINY).log() * (1 - FOCAL_ALPHA) * chance**FOCAL_GAMMA
            apart = torch.cdist(curve.flatten(1), true.to(curve).flatten(1), p=1)
            queries, lanes = hungarian((_CLASS * (hit - miss)[:, None] + _CURVE * apart).cpu())
            row.append((torch.as_tensor(queries, device=score.device), torch.as_tensor(lanes, device=score.device)))
        matched.append(row)
    return matched


def lane_losses(
    logits: Tensor, curves: Tensor, matched: Sequence[Sequence[tuple[Tensor, Tensor]]], truth: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """(L,) losses of being a lane, and (L,) of control points, each by the number of lanes that are learnt."""
    from torchvision.ops import sigmoid_focal_loss

    kinds, places = [], []
    for scores, found, row in zip(logits, curves, matched, strict=True):
        wanted, apart = torch.zeros_like(scores), scores.new_zeros(())
        for frame, (queries, lanes) in enumerate(row):
            wanted[frame, queries] = 1.0
            apart = apart + (found[frame, queries] - truth[frame].to(found)[lanes]).abs().sum()
        learnt = scores.new_tensor(sum(len(queries) for queries, _ in row), dtype=torch.float32)
        count = mean_over_processes(learnt).clamp(min=1)
        kinds.append(_CLASS * sigmoid_focal_loss(scores, wanted, FOCAL_ALPHA, FOCAL_GAMMA, "sum") / count)
        places.append(_CURVE * apart / count)
    return torch.stack(kinds), torch.stack(places)
