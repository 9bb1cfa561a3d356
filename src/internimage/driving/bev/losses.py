"""Which query learns which box, and by what (BEVFormer, Li et al., 2022; DETR3D, Wang et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.driving.bev.code import code_of
from internimage.driving.bev.inputs import BoxTargets
from internimage.errors import ConfigError
from internimage.layers.queries.hungarian import hungarian
from internimage.layers.queries.losses import FOCAL_ALPHA, FOCAL_GAMMA, mean_over_processes

_CLASS = 2.0  # of costs and losses
_COMPARED = 8  # numbers of a code that matching looks at: all but the velocity
_TINY = 1e-12


@dataclass(frozen=True)
class CodeDistance:
    """How far apart two codes are, in matching and in learning.

    Attributes:
        weight: beside the class.
        smooth: differences below 1 count by half their square, others a half less (smooth L1), as in BEVFormer v2.
    """

    weight: float = 0.25
    smooth: bool = False

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ConfigError(f"the weight of boxes is {self.weight}; expected 0 or more")

    def between(self, found: Tensor, true: Tensor) -> Tensor:
        """(Q, G) weighted sums over the numbers of codes (Q, D) and (G, D)."""
        if not self.smooth:
            return self.weight * torch.cdist(found, true, p=1)
        return self.weight * self.of(found[:, None] - true).sum(-1)

    def of(self, differences: Tensor) -> Tensor:
        """What each difference counts, without the weight."""
        if not self.smooth:
            return differences.abs()
        return F.smooth_l1_loss(differences, torch.zeros_like(differences), reduction="none")


_PLAIN = CodeDistance()


@torch.no_grad()
def match(logits: Tensor, codes: Tensor, targets: Sequence[BoxTargets], distance: CodeDistance = _PLAIN) -> Tensor:
    """The boxes that queries learn: (L, N, Q) index into the boxes of all frames together, -1 for none.

    Each layer is matched alone, by focal loss and distance of codes without velocity.

    Args:
        logits: (L, N, Q, K).
        codes: (L, N, Q, 10).
        targets: of N frames.
        distance: of codes.
    """
    result = torch.full(logits.shape[:3], -1, dtype=torch.int64)
    start = 0
    for frame, target in enumerate(targets):
        if len(target.labels):
            chance = logits[:, frame].float().sigmoid()[..., target.labels]
            hit = -(chance + _TINY).log() * FOCAL_ALPHA * (1 - chance) ** FOCAL_GAMMA
            miss = -(1 - chance + _TINY).log() * (1 - FOCAL_ALPHA) * chance**FOCAL_GAMMA
            true = code_of(target.boxes.float())[:, :_COMPARED]
            apart = torch.stack([distance.between(own, true) for own in codes[:, frame, :, :_COMPARED].float()])
            for layer, cost in enumerate((_CLASS * (hit - miss) + apart).cpu()):
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
    distance: CodeDistance = _PLAIN,
) -> tuple[Tensor, Tensor]:
    """Focal loss and distance of codes: (L,) each, weighted, over the boxes that a layer learns.

    The number of boxes is the mean over all processes, at least 1.

    Args:
        logits, codes, targets: see :func:`match`.
        matched: what that gives.
        weights: (10,) of each number of a code.
        drop_incomplete: a box with a number that is not finite, such as an unknown velocity, is left out of the
            distance as a whole, as in the released code; otherwise that number is.
        distance: of codes, as in :func:`match`.
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
    apart = (distance.of(found - torch.where(known, true, found.detach())) * weights.float()).sum(-1)
    total = torch.zeros_like(focal).index_add(0, layer, apart)
    return _CLASS * focal / count, distance.weight * total / count
