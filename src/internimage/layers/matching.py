"""Which reference boxes learn which object: assignment by overlap, and a random choice among those assigned."""

from __future__ import annotations

import torch
from torch import Tensor

BACKGROUND = -1
IGNORED = -2


def match(overlaps: Tensor, positive: float, negative: float, low_quality: float | None = None) -> Tensor:
    """The object of each reference box: (N,) int64 from ``overlaps`` (G, N); ``BACKGROUND`` or ``IGNORED`` for none.

    Args:
        overlaps: intersection over union of G objects with N boxes.
        positive: a box learns the object that it overlaps most, from this overlap on.
        negative: below this overlap with all objects it is background; in between it is ignored.
        low_quality: besides, each object is given the boxes that overlap it most, if they do so by at least this much;
            of two objects that want the same box, the later has it.  None: they are not.

    Ren et al., Faster R-CNN (2015), section 3.1.2.
    """
    objects, count = overlaps.shape
    result = overlaps.new_full((count,), IGNORED, dtype=torch.int64)
    if not objects or not count:
        return result.fill_(BACKGROUND)
    best, which = overlaps.max(0)
    result[best < negative] = BACKGROUND
    result = torch.where(best >= positive, which, result)
    if low_quality is not None:
        most = overlaps.max(1, keepdim=True).values
        wanted = (overlaps == most) & (most >= low_quality)
        later = torch.arange(objects, device=overlaps.device)[:, None].expand_as(wanted)
        result = torch.where(wanted.any(0), torch.where(wanted, later, -1).max(0).values, result)
    return result


def sample(matches: Tensor, count: int, share: float) -> tuple[Tensor, Tensor]:
    """Indices of up to ``count`` boxes of ``matches``: at most that ``share`` with an object, the rest background."""
    positives = _choose((matches >= 0).nonzero()[:, 0], int(count * share))
    return positives, _choose((matches == BACKGROUND).nonzero()[:, 0], count - len(positives))


def _choose(candidates: Tensor, count: int) -> Tensor:
    if len(candidates) <= count:
        return candidates
    chosen = torch.randperm(len(candidates), device=candidates.device)[:count]
    return candidates[chosen].sort().values
