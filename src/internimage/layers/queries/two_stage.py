"""Two-stage queries: pixels of the encoder propose boxes to the decoder (Deformable DETR, section A.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_MARGIN = 0.01  # proposals nearer to the image's edge are left out


def valid_pixels(
    sizes: Sequence[tuple[int, int]], extent: Sequence[int], maps: Sequence[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Which rows (N, H_i) and columns (N, W_i) of each map show images rather than padding, bool.

    Those whose first pixel is one of the image's.  ``sizes`` are those of the images in a batch of size ``extent``.
    """
    limits = torch.tensor(list(sizes), device=maps[0].device)
    inside = [
        (torch.arange(extent[axis], device=limits.device) < limits[:, None, axis, None]).float() for axis in (0, 1)
    ]
    return [
        tuple(  # type: ignore[misc]
            F.interpolate(one, size=length, mode="nearest")[:, 0] > 0
            for one, length in zip(inside, map_.shape[2:], strict=True)
        )
        for map_ in maps
    ]


def pixel_boxes(rows: Tensor, columns: Tensor, size: float) -> Tensor:
    """Boxes (N, H * W, 4), cxcywh relative to the image, around the pixels of a map.

    ``rows`` (N, H) and ``columns`` (N, W) are those of :func:`valid_pixels`; ``size`` is relative to the image as well.
    """
    y, x = ((torch.arange(one.shape[1], device=one.device) + 0.5) / one.sum(1, keepdim=True) for one in (rows, columns))
    centre = torch.stack(torch.broadcast_tensors(x[:, None], y[..., None]), dim=-1).flatten(1, 2)
    return torch.cat([centre, torch.full_like(centre, size)], dim=-1)


def may_propose(boxes: Tensor, padding: Tensor) -> Tensor:
    """(N, S) bool: pixels outside the padding whose boxes (N, S, 4) stay clear of the image's edges."""
    inside: Tensor = ((boxes > _MARGIN) & (boxes < 1 - _MARGIN)).all(-1) & ~padding
    return inside


def best_pixels(logits: Tensor, count: int) -> Tensor:
    """Indices (N, Q) of the ``count`` pixels with the highest logit (N, S, K) of any class, best first."""
    return logits.detach().max(-1).values.topk(min(count, logits.shape[1])).indices


def take(indices: Tensor, values: Tensor) -> Tensor:
    """Rows ``indices`` (N, Q) of ``values`` (N, S, C)."""
    return values.gather(1, indices[..., None].expand(-1, -1, values.shape[-1]))
