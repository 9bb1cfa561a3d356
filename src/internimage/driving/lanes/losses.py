"""Which query learns which lane, and by what (OpenLane-V2's baseline, 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from internimage.driving.bev.inputs import LaneTargets
from internimage.layers.queries.hungarian import hungarian, match_images
from internimage.layers.queries.losses import FOCAL_ALPHA, FOCAL_GAMMA, mean_over_processes, set_box_losses

_CLASS, _CURVE = 1.5, 0.0075  # of costs and losses; metres
_SET = 0.5  # of what sets of boxes cost elsewhere: distances 2.5, overlaps 1
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


@torch.no_grad()
def match_elements(
    logits: Tensor, boxes: Tensor, targets: Sequence[LaneTargets], sizes: Tensor
) -> list[list[tuple[Tensor, Tensor]]]:
    """Of each layer and frame the places of the queries that learn a traffic element, and of these elements.

    Args:
        logits: (L, N, Q, K).
        boxes: (L, N, Q, 4) cxcywh as shares of the picture.
        targets: of each frame.
        sizes: (N, 2) height and width of the pictures.
    """
    labels, truth = [one.attributes for one in targets], [one.elements for one in targets]
    objects = match_images(logits, boxes, labels, truth, _extents(sizes))
    starts = torch.tensor([0, *(len(one) for one in labels)]).cumsum(0).tolist()
    return [
        [
            ((places := (own >= 0).nonzero()[:, 0]), own[places] - start)
            for own, start in zip(layer, starts[:-1], strict=True)
        ]
        for layer in objects
    ]


def element_losses(
    logits: Tensor,
    boxes: Tensor,
    matched: Sequence[Sequence[tuple[Tensor, Tensor]]],
    targets: Sequence[LaneTargets],
    sizes: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """(L,) focal losses of attributes, distances and generalised overlaps, each by the number of elements learnt."""
    objects = torch.full(logits.shape[:3], -1, dtype=torch.int64, device=logits.device)
    start = 0
    for frame, one in enumerate(targets):
        for layer, row in enumerate(matched):
            queries, elements = row[frame]
            objects[layer, frame, queries] = elements + start
        start += len(one.attributes)
    labels, truth = torch.cat([one.attributes for one in targets]), torch.cat([one.elements for one in targets])
    classes, distances, overlaps = set_box_losses(logits, boxes, objects, labels, truth, _extents(sizes))
    return classes, _SET * distances, _SET * overlaps


def _extents(sizes: Tensor) -> Tensor:
    """(N, 4) width, height, width, height."""
    return sizes.flip(1).repeat(1, 2).float()
