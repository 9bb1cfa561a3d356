"""IoU assigner: which reference boxes learn which object, and a random choice among those assigned."""

from __future__ import annotations

import torch
from torch import Tensor

BACKGROUND = -1
IGNORED = -2
CHUNK = 64
"""Objects whose overlaps with all boxes are in memory at a time: 70 MB at 270,000 anchors."""


def assign(
    objects: Tensor, boxes: Tensor, positive: float, negative: float, low_quality: float | None = None
) -> Tensor:
    """The object of each reference box: (N,) int64, ``BACKGROUND`` or ``IGNORED`` for none.

    Args:
        objects: (G, 4), x1, y1, x2, y2.
        boxes: (N, 4) likewise; overlap is intersection over union.
        positive: a box learns the object that it overlaps most, from this overlap on.
        negative: below this overlap with all objects it is background; in between it is ignored.
        low_quality: besides, each object is given the boxes that overlap it most, if they do so by at least this much;
            of two objects that want the same box, the later has it.  None: they are not.

    Ren et al., Faster R-CNN (2015), section 3.1.2.
    """
    from torchvision.ops import box_iou

    best = boxes.new_zeros(len(boxes))
    which = torch.full_like(best, BACKGROUND, dtype=torch.int64)
    wanted = which.clone()  # the last object whose most overlapping box this is
    for start in range(0, len(objects) if len(boxes) else 0, CHUNK):
        overlaps = box_iou(objects[start : start + CHUNK], boxes)
        most, index = overlaps.max(0)
        which = torch.where(most > best, index + start, which)
        best = torch.maximum(best, most)
        if low_quality is not None:
            most = overlaps.max(1, keepdim=True).values
            number = torch.arange(start, start + len(overlaps), device=boxes.device)[:, None]
            wanted = torch.where((overlaps == most) & (most >= low_quality), number, wanted).max(0).values
    result = torch.where(best >= positive, which, IGNORED)
    result[best < negative] = BACKGROUND
    return torch.where(wanted >= 0, wanted, result)


def sample(assigned: Tensor, count: int, share: float) -> tuple[Tensor, Tensor]:
    """Indices of up to ``count`` boxes of ``assigned``: at most that ``share`` with an object, the rest background."""
    positives = _choose((assigned >= 0).nonzero()[:, 0], int(count * share))
    return positives, _choose((assigned == BACKGROUND).nonzero()[:, 0], count - len(positives))


def _choose(candidates: Tensor, count: int) -> Tensor:
    if len(candidates) <= count:
        return candidates
    chosen = torch.randperm(len(candidates), device=candidates.device)[:count]
    return candidates[chosen].sort().values
