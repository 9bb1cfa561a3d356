"""Which element learns the box of which line, and by what (Liu et al., VectorMapNet, ICML 2023, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.driving.maps.canvas import Canvas
from internimage.driving.maps.lines import Matched, focal_cost, focal_losses, learnt_count
from internimage.driving.maps.tokens import LineTokens
from internimage.layers.queries.hungarian import hungarian

_CLASS, _CORNERS, _OVERLAP = 2.0, 0.1, 1.0  # of costs, and of losses but for the overlap; cells of the canvas
_BETA = 0.5  # cells
_GROWN = 1.0  # cells on each side: the box of a line along x or y has no area


@torch.no_grad()
def match_boxes(logits: Tensor, corners: Tensor, targets: Sequence[LineTokens], canvas: Canvas) -> Matched:
    """Each layer for itself: by focal loss, distance of corners in cells, and overlap of boxes grown by a cell.

    Args:
        logits: (L, N, E, K).
        corners: (L, N, E, 2, 2) shares of the canvas, first those of least x and y.
        targets: of N frames.
        canvas: what shares are of.
    """
    from torchvision.ops import box_iou

    cells = corners.new_tensor(canvas.cells)
    pairs: list[tuple[Tensor, ...]] = []
    for frame, target in enumerate(targets):
        if not len(target.labels):
            continue
        found, true = ((one * cells).flatten(-2) for one in (corners[:, frame], target.corners))
        cost = _CLASS * focal_cost(logits[:, frame], target.labels)
        apart = F.smooth_l1_loss(
            found[:, :, None].expand(-1, -1, len(true), -1),
            true.expand(*found.shape[:2], -1, -1),
            reduction="none",
            beta=_BETA,
        ).sum(-1)
        grow = found.new_tensor([-_GROWN, -_GROWN, _GROWN, _GROWN])
        for layer, one in enumerate(cost + _CORNERS * apart):
            upright = torch.cat([found[layer].view(-1, 2, 2).amin(1), found[layer].view(-1, 2, 2).amax(1)], dim=-1)
            whole = one - _OVERLAP * box_iou(upright + grow, true + grow)
            element, line = (part.to(logits.device) for part in hungarian(whole.cpu()))
            where = (torch.full_like(element, layer), torch.full_like(element, frame), element)
            pairs.append((*where, target.corners[line], target.labels[line]))
    if not pairs:
        none = torch.zeros(0, dtype=torch.int64, device=logits.device)
        return Matched(none, none, none, corners.new_zeros(0, 2, 2), none)
    return Matched(*(torch.cat(part) for part in zip(*pairs, strict=True)))


def box_losses(logits: Tensor, corners: Tensor, matched: Matched, canvas: Canvas) -> tuple[Tensor, Tensor]:
    """Focal loss, and smooth distance of corners in cells of the canvas: (L,) each, by the boxes that are learnt."""
    where = (matched.layers, matched.frames, matched.elements)
    count = learnt_count(len(matched.labels), logits)
    cells = corners.new_tensor(canvas.cells)
    focal = focal_losses(logits, where, matched.labels)
    apart = F.smooth_l1_loss(corners[where] * cells, matched.points * cells, reduction="none", beta=_BETA).sum((1, 2))
    distance = torch.zeros_like(focal).index_add(0, matched.layers, apart)
    return _CLASS * focal / count, _CORNERS * distance / count
