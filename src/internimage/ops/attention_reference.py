"""Multi-scale deformable attention as its formula reads: the definition that implementations are held to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad


def attention_reference(value: Tensor, location: Tensor, weight: Tensor, shapes: Sequence[int]) -> Tensor:
    """``output[n, q, m] = sum over levels l and points p of weight * bilinear(value of level l, location)``.

    Shapes as in :func:`internimage.ops.ms_deform_attn`.  Position x of a level is ``location_x * width - 0.5``; pixels
    outside a level are zeros, and a point on or beyond -1 or the level's size contributes nothing.
    """
    exact = torch.float64 if location.dtype == torch.float64 else torch.float32
    output = torch.zeros(*weight.shape[:3], value.shape[3], dtype=exact, device=value.device)
    sizes = list(zip(shapes[::2], shapes[1::2], strict=True))
    for level, pixels in enumerate(value.split([height * width for height, width in sizes], 1)):
        image = pixels.unflatten(1, sizes[level]).permute(0, 3, 1, 2, 4).to(exact)  # (N, M, H, W, D)
        sampled = _bilinear(image, location[:, :, :, level].transpose(1, 2).to(exact))  # (N, M, Q, P, D)
        output = output + torch.einsum("nmqpd,nqmp->nqmd", sampled, weight[:, :, :, level].to(exact))
    return output.flatten(2).to(value.dtype)


def _bilinear(image: Tensor, location: Tensor) -> Tensor:
    """Values (N, M, Q, P, D) of ``image`` (N, M, H, W, D) at ``location`` (N, M, Q, P, 2), x and y in shares of it."""
    height, width = image.shape[2:4]
    framed = pad(image, (0, 0, 2, 1, 2, 1))  # zeros around: position -2 and its neighbours lie outside in any case
    position = location * location.new_tensor([width, height]) - 0.5
    inside = ((position > -1) & (position < location.new_tensor([width, height]))).all(-1, keepdim=True)
    position = torch.where(inside, position, -2)  # also for NaN
    corner = position.detach().floor()
    x, y = (position - corner).unsqueeze(-2).unbind(-1)  # (N, M, Q, P, 1) each
    column, row = (corner.long() + 2).unbind(-1)
    batch, head = (torch.arange(size, device=image.device) for size in image.shape[:2])
    at = (batch.view(-1, 1, 1, 1), head.view(-1, 1, 1))
    upper = framed[*at, row, column] * (1 - x) + framed[*at, row, column + 1] * x
    lower = framed[*at, row + 1, column] * (1 - x) + framed[*at, row + 1, column + 1] * x
    return upper * (1 - y) + lower * y
