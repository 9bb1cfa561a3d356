"""Boxes, xyxy in pixels unless said otherwise: formats, deltas of reference boxes, clipping, NMS.

Where torchvision has the function it is used; it is imported there, because that takes seconds which those who classify
need not spend.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LARGEST_LOG_SCALE = math.log(1000 / 16)
_MANY = 10_000  # boxes from which on NMS goes class by class instead of shifting each class elsewhere


def encode(references: Tensor, boxes: Tensor, stds: tuple[float, float, float, float]) -> Tensor:
    """Shifts of the centre over the size, and logarithms of the size's ratio, from (N, 4) to (N, 4), over ``stds``.

    Girshick et al., R-CNN (2014), appendix C.
    """
    centre, size = (references[:, :2] + references[:, 2:]) * 0.5, references[:, 2:] - references[:, :2]
    wanted, wanted_size = (boxes[:, :2] + boxes[:, 2:]) * 0.5, boxes[:, 2:] - boxes[:, :2]
    deltas = torch.cat([(wanted - centre) / size, (wanted_size / size).log()], dim=1)
    return deltas / deltas.new_tensor(stds)


def decode(
    references: Tensor,
    deltas: Tensor,
    stds: tuple[float, float, float, float],
    limit: tuple[int, int] | None = None,
) -> Tensor:
    """The boxes that ``deltas`` (N, K, 4) make of ``references`` (N, 4): (N, K, 4).

    Sizes change by at most a factor of 62.5 either way.  ``limit`` (height, width) clips to the image.
    """
    deltas = deltas.to(references.dtype) * references.new_tensor(stds)  # half precision would move boxes by pixels
    centre = ((references[:, :2] + references[:, 2:]) * 0.5)[:, None]
    size = (references[:, 2:] - references[:, :2])[:, None]
    middle = centre + size * deltas[..., :2]
    half = size * deltas[..., 2:].clamp(-_LARGEST_LOG_SCALE, _LARGEST_LOG_SCALE).exp() * 0.5
    boxes = torch.cat([middle - half, middle + half], dim=-1)
    return boxes if limit is None else clip(boxes, limit)


def clip(boxes: Tensor, limit: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) cut to an image of ``limit`` (height, width)."""
    height, width = limit
    return torch.stack([boxes[..., i].clamp(0, (width, height)[i % 2]) for i in range(4)], dim=-1)


def nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Non-maximum suppression within groups: indices of the boxes (N, 4) that are kept, best first.

    A box is dropped if a better one of its group overlaps it by more than ``threshold``, as intersection over union.

    One NMS for all groups, each shifted to a place of its own: the float32 arithmetic of released detectors.
    """
    from torchvision import ops

    if torch.compiler.is_exporting():  # whose graphs do not branch on how many boxes there are
        largest = torch.cat([boxes.flatten(), boxes.new_zeros(1)]).max()
        return ops.nms(boxes + (groups.to(boxes) * (largest + 1))[:, None], scores, threshold)
    if not len(boxes) or len(boxes) >= _MANY:
        return ops.batched_nms(boxes, scores, groups, threshold)
    shift = groups.to(boxes) * (boxes.max() + 1)
    return ops.nms(boxes + shift[:, None], scores, threshold)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Boxes (..., 4), cxcywh to xyxy."""
    centre, size = boxes.chunk(2, dim=-1)
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Boxes (..., 4), xyxy to cxcywh."""
    first, second = boxes.chunk(2, dim=-1)
    return torch.cat([(first + second) / 2, second - first], dim=-1)
