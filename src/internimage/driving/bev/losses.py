"""Which query learns which box, and by what (BEVFormer, Li et al., 2022; DETR3D, Wang et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from internimage.driving.bev.code import code_of
from internimage.driving.bev.inputs import BoxTargets
from internimage.layers.queries.hungarian import hungarian
from internimage.layers.queries.losses import FOCAL_ALPHA, FOCAL_GAMMA, mean_over_processes

_CLASS_COST, _BOX_COST = 2.0, 0.25
_CLASS_WEIGHT, _BOX_WEIGHT = 2.0, 0.25
_COMPARED = 8  # numbers of a code that matching looks at: all but the velocity
_TINY = 1e-12


@torch.no_grad()
def match(logits: Tensor, codes: Tensor, targets: Sequence[BoxTargets]) -> Tensor:
    """The boxes that queries learn: (L, N, Q) index into the boxes of all frames together, -1 for none.

    Each layer is matched alone, by focal loss and distance of codes without velocity.

    Args:
        logits: (L, N, Q, K).
        codes: (L, N, Q, 10).
        targets: of N frames.
    """
    result = torch.full(logits.shape[:3], -1, dtype=torch.int64)
    start = 0
    for frame, target in enumerate(targets):
        if len(target.labels):
            chance = logits[:, frame].float().sigmoid()[..., target.labels]
            hit = -(chance + _TINY).log() * FOCAL_ALPHA * (1 - chance) ** FOCAL_GAMMA
            miss = -(1 - chance + _TINY).log() * (1 - FOCAL_ALPHA) * chance**FOCAL_GAMMA
            true = code_of(target.boxes.float())[:, :_COMPARED]
            apart = torch.cdist(codes[:, frame, :, :_COMPARED].float(), true, p=1)
            for layer, cost in enumerate((_CLASS_COST * (hit - miss) + _BOX_COST * apart).cpu()):
                queries, boxes = hungarian(cost)
                result[layer, frame, queries] = boxes + start
        start += len(target.labels)
    return result.to(logits.device)


def box_losses(
    logits: Tensor,
    codes: Tensor,
    matched: Tensor,
    targets: Sequence[BoxTargets],
    weights: Tensor,
    *,
    drop_incomplete: bool = False,
) -> tuple[Tensor, Tensor]:
    """Focal loss and distance of codes: (L,) each, weighted, over the boxes that a layer learns.

    The number of boxes is the mean over all processes, at least 1.

    Args:
        logits, codes, targets: see :func:`match`.
        matched: what that gives.
        weights: (10,) of each number of a code.
        drop_incomplete: a box with a number that is not finite, such as an unknown velocity, is left out of the
            distance as a whole, as in the released code; otherwise that number is.
    """
    from torchvision.ops import sigmoid_focal_loss

    layer, frame, query = (matched >= 0).nonzero(as_tuple=True)
    learnt = matched[layer, frame, query]
    count = mean_over_processes(logits.new_tensor(len(learnt) / len(logits), dtype=torch.float32)).clamp(min=1)
    wanted = torch.zeros_like(logits, dtype=torch.float32)
    wanted[layer, frame, query, torch.cat([one.labels for one in targets])[learnt]] = 1.0
    focal = sigmoid_focal_loss(logits.float(), wanted, FOCAL_ALPHA, FOCAL_GAMMA).sum((1, 2, 3))
    true = code_of(torch.cat([one.boxes for one in targets]).float())[learnt]
    known = true.isfinite()
    if drop_incomplete:
        known = known.all(-1, keepdim=True).expand_as(known)
    found = codes[layer, frame, query].float()
    apart = ((found - torch.where(known, true, found.detach())).abs() * weights.float()).sum(-1)
    distance = torch.zeros_like(focal).index_add(0, layer, apart)
    return _CLASS_WEIGHT * focal / count, _BOX_WEIGHT * distance / count
