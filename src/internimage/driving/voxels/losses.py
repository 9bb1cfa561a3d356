"""What a network learns from classes of voxels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.driving.bev.inputs import VoxelTargets
from internimage.driving.data.occ3d import UNKNOWN
from internimage.driving.voxels.settings import VoxelLosses
from internimage.errors import ConfigError


def drawn(targets: VoxelTargets, settings: VoxelLosses, classes: int) -> tuple[Tensor, Tensor]:
    """Which voxels are learnt from, and for how many each of a class stands; what nobody knows never is.

    Args:
        targets: of N frames.
        settings: which voxels count.
        classes: how many there are.

    Returns:
        (N, X, Y, Z) bool, and (classes,) float32.
    """
    chosen = targets.labels != UNKNOWN
    if settings.seen_only:
        chosen = chosen & targets.seen
    standing = torch.ones(classes, device=chosen.device)
    if settings.most:
        counts = targets.labels[chosen].long().bincount(minlength=classes)[:classes]
        standing = (counts / (settings.most * len(chosen))).clamp(min=1)
        chances = torch.ones(UNKNOWN + 1, device=chosen.device)
        chances[:classes] = 1 / standing
        chosen = chosen & (torch.rand(chosen.shape, device=chosen.device) < chances[targets.labels.long()])
    return chosen, standing


def voxel_losses(
    logits: Tensor, labels: Tensor, settings: VoxelLosses, standing: Tensor, shares: Tensor | None = None
) -> dict[str, Tensor]:
    """Cross-entropy "class", a mean over voxels, and "lovasz" where it has a weight.

    Args:
        logits: (P, classes) of the voxels that are drawn.
        labels: (P,) int64, what they are.
        settings: how they count.
        standing: (classes,) for how many voxels each of a class stands, see :func:`drawn`.
        shares: (classes,) of the voxels that are of each class, for ``settings.balance``.

    Returns:
        Zeros with gradients where there are no voxels.

    Raises:
        ConfigError: ``settings.balance`` without ``shares``.
    """
    if settings.balance and shares is None:
        raise ConfigError("balance needs the shares of the classes among the voxels of the data")
    logits, counts = logits.float(), standing[labels]
    if settings.balance and shares is not None:
        weights = shares.clamp(min=1e-6) ** -settings.balance
        weights = weights / (shares * weights).sum()  # a mean of 1 over the voxels of the data
        # shifted, so that what is learnt stays each class's probability, whatever it weighs
        each = F.cross_entropy(logits + weights.log(), labels, reduction="none") * weights[labels] * counts
    else:
        each = F.cross_entropy(logits, labels, reduction="none") * counts
    losses = {"class": each.sum() / counts.sum().clamp(min=1)}
    if settings.lovasz:
        losses["lovasz"] = settings.lovasz * lovasz_softmax(logits.softmax(-1), labels, counts)
    return losses


def lovasz_softmax(chances: Tensor, labels: Tensor, counts: Tensor | None = None) -> Tensor:
    """The Lovasz extension of one minus the intersection over union, a mean over the classes that are there.

    Berman et al., The Lovasz-Softmax loss, CVPR 2018, section 2.2.

    Args:
        chances: (P, classes), which add up to 1.
        labels: (P,) int64.
        counts: (P,) for how many each stands; one where there are none.
    """
    losses = []
    counts = chances.new_ones(len(labels)) if counts is None else counts.to(chances.dtype)
    for label in labels.unique().tolist():
        true = (labels == label).to(chances.dtype)
        errors, order = (true - chances[:, label]).abs().sort(descending=True)
        true, own = true[order], counts[order]
        hits = (true * own).sum() - (true * own).cumsum(0)
        unions = (true * own).sum() + ((1 - true) * own).cumsum(0)
        lost = 1 - hits / unions  # of the intersection over union when the first so many are wrong
        losses.append((errors * lost.diff(prepend=lost.new_zeros(1))).sum())
    return torch.stack(losses).mean() if losses else chances.sum() * 0
