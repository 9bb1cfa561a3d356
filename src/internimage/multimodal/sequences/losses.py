"""Losses of logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SMOOTHING = 0.1


def named_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of (R, K) with labels (R,), smoothed by 0.1, or with shares (R, K) as they are."""
    if labels.is_floating_point():
        return F.cross_entropy(logits, labels.to(logits.dtype))
    return F.cross_entropy(logits, labels, label_smoothing=_SMOOTHING)


def pair_loss(logits: Tensor, left_out: Tensor | None = None) -> Tensor:
    """Cross-entropy of (R, R) whose diagonal is right, smoothed by 0.1.

    Args:
        logits: rows to columns.
        left_out: (R, R) bool, pairs that are not wrong either; the diagonal is not heeded.
    """
    right = torch.arange(len(logits), device=logits.device)
    if left_out is None:
        return F.cross_entropy(logits, right, label_smoothing=_SMOOTHING)
    counted = ~left_out | torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    likelihood = logits.masked_fill(~counted, -torch.inf).log_softmax(1)
    spread = likelihood.masked_fill(~counted, 0.0).sum(1) / counted.sum(1)
    return -((1 - _SMOOTHING) * likelihood.diagonal() + _SMOOTHING * spread).mean()


def alike(texts: Tensor, pictures: Tensor) -> Tensor:
    """Which pairs belong together though they are not one: (R, R) bool.

    Args:
        texts: (R, L) rows of words, padded alike.
        pictures: (R,) the picture of each.
    """
    return (texts[:, None] == texts).all(2) | (pictures[:, None] == pictures)
