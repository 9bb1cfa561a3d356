"""What processes share so that losses over all of them, and their gradients, are those of one process.

Each process has its part of a batch, and the gradients are averaged afterwards (DDP, FSDP2, ZeRO).  Batches are of one
size on all processes, as the trainer divides them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def place_among_processes() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


class _Gathered(torch.autograd.Function):
    """All processes' rows; backward every process adds its gradient of everybody's rows."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].contiguous()
        dist.all_reduce(whole)
        rank, world = place_among_processes()
        return whole.chunk(world)[rank]


def gathered(x: Tensor) -> Tensor:
    """The rows (N, ...) of all processes, (world * N, ...) in their order, with gradients to where they came from."""
    if place_among_processes()[1] == 1:
        return x
    result: Tensor = _Gathered.apply(x)
    return result


def gathered_texts(texts: list[list[int]], rows: list[int]) -> tuple[list[list[int]], list[int]]:
    """Texts, and numbers of the pictures that they belong to, of all processes, in the order of :func:`gathered`.

    Pictures of different processes get different numbers.
    """
    world = place_among_processes()[1]
    if world == 1:
        return texts, rows
    parts: list[Any] = [None] * world
    dist.all_gather_object(parts, (texts, rows))
    apart = 1 + max(number for _, own in parts for number in own)
    numbers = [number + rank * apart for rank, (_, own) in enumerate(parts) for number in own]
    return [text for own, _ in parts for text in own], numbers


def shared_mean(values: Tensor, counted: Tensor | None = None) -> Tensor:
    """The mean of all processes' values where ``counted``, of the same shape; of all if None; 0 of none.

    More exactly this process's share of it: averaged over processes it is the mean, and so are gradients.
    """
    counted = torch.ones_like(values, dtype=torch.bool) if counted is None else counted
    world = place_among_processes()[1]
    count = counted.sum().to(values.dtype)
    if world > 1:
        dist.all_reduce(count)
    return torch.where(counted, values, 0.0).sum() * world / count.clamp(min=1)
