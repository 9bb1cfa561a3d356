"""Whether numbers are finite: one reduced value of each tensor tells, so that asking costs next to nothing."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from internimage.errors import NonFiniteError

_KINDS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def is_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no number of these tensors is NaN or infinite; waits for the device once.  Whole numbers always are."""
    sums = [
        tensor.detach().sum(dtype=torch.float64 if tensor.dtype == torch.float64 else torch.float32)
        for tensor in tensors
        if tensor.dtype in _KINDS and not tensor.is_meta
    ]
    return not sums or bool(torch.stack([one.float() for one in sums]).isfinite().all())


def check_finite(*tensors: Tensor) -> None:
    """Raise :class:`NonFiniteError` if something is not finite that a threshold would drop without a word.

    Who traces or compiles a network gets a graph without this question.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return
    if not is_finite(tensors):
        raise NonFiniteError("the network gives numbers that are not finite")
