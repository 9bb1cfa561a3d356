"""What M3I minimises: how far targets are from what is said of them, and how alike what is said of all pictures is.

M3I (Su et al., CVPR 2023): mutual information is the likelihood of a target given the picture, with a Boltzmann law for
classes and texts and a Gaussian one for dense features, and an entropy that keeps representations from being all alike.
No code was released; the exact terms are this project's, that of the entropy after VICReg (Bardes et al., ICLR 2022).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.multimodal.information.gathering import gathered, shared_mean

_NORM_EPS = 1e-6
_STD_EPS = 1e-4
_LARGEST = 100.0  # of a learnt inverse temperature, as in CLIP


def normalised(tokens: Tensor) -> Tensor:
    """Tokens (..., C) with mean 0 and variance 1 over their channels."""
    return F.layer_norm(tokens, tokens.shape[-1:], eps=_NORM_EPS)


def dense_errors(predicted: Tensor, target: Tensor) -> Tensor:
    """Squared distance of predicted tokens (N, L, C) from the normalised target ones, mean over channels: (N, L)."""
    return (predicted - normalised(target)).square().mean(-1)


def dense_loss(predicted: Tensor, target: Tensor, hidden: Tensor | None = None) -> Tensor:
    """:func:`dense_errors`, mean over the ``hidden`` cells (N, L) bool of all processes; over all if None."""
    return shared_mean(dense_errors(predicted, target), hidden)


def choice_loss(
    pictures: Tensor,
    choices: Tensor,
    right: Tensor,
    log_scale: Tensor,
    counted: Tensor | None = None,
    refused: Tensor | None = None,
) -> Tensor:
    """InfoNCE: cross-entropy of choosing the right one by cosine over temperature, mean over all processes.

    Args:
        pictures: (R, d), of any length.
        choices: (K, d) class embeddings, or the features of texts, likewise.
        right: (R,) int64, number of the right choice.
        log_scale: logarithm of the inverse temperature; counts as ln 100 at most.
        counted: (R,) bool, which pictures count; all if None.
        refused: (R, K) bool, choices that a picture is not compared with; the right one always is.
    """
    scale = log_scale.clamp(max=math.log(_LARGEST)).exp()
    logits = scale * F.normalize(pictures, dim=-1) @ F.normalize(choices, dim=-1).T
    if refused is not None:
        own = F.one_hot(right, len(choices)).bool()
        logits = logits.masked_fill(refused & ~own, -torch.inf)
    return shared_mean(F.cross_entropy(logits, right, reduction="none"), counted)


def spread_terms(features: Tensor) -> tuple[Tensor, Tensor]:
    """How far a batch (N, C) is from standard deviations of 1 or more, and from channels that tell different things.

    Returns:
        The mean over channels of max(0, 1 - standard deviation), and the sum of the squared covariances of different
        channels over C; both unbiased.
    """
    channels = features.shape[1]
    deviation = (features.var(0) + _STD_EPS).sqrt()
    centred = features - features.mean(0)
    covariance = centred.T @ centred / (len(features) - 1)
    off = covariance.square().sum() - covariance.diagonal().square().sum()
    return (1 - deviation).relu().mean(), off / channels


def spread_loss(features: Tensor) -> Tensor:
    """The sum of :func:`spread_terms` over the batches (N, C) of all processes: it keeps features from collapsing."""
    variance, covariance = spread_terms(gathered(features))
    return variance + covariance


def averaging(start: float, share: float) -> float:
    """How much the past weighs in the moving average when ``share`` of a run is done: half a cosine to 1."""
    return 1 - (1 - start) * (math.cos(math.pi * min(1.0, share)) + 1) / 2
