"""What a network learns from classes of voxels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.driving.bev.inputs import VoxelTargets
from internimage.driving.data.occ3d import UNKNOWN
from internimage.driving.voxels.settings import VoxelLosses
from internimage.errors import ConfigError


def voxel_losses(
    logits: Tensor, targets: VoxelTargets, settings: VoxelLosses, shares: Tensor | None = None
) -> dict[str, Tensor]:
    """Cross-entropy "class", a mean over the voxels that count, and "lovasz" where it has a weight.

    Args:
        logits: (N, X, Y, Z, classes).
        targets: of the same frames.
        settings: which voxels count, and how.
        shares: (classes,) of the voxels that are of each class, for ``settings.balance``.

    Returns:
        Zeros with gradients where no voxel counts; voxels that nobody knows never do.

    Raises:
        ConfigError: ``settings.balance`` without ``shares``.
    """
    if settings.balance and shares is None:
        raise ConfigError("balance needs the shares of the classes among the voxels of the data")
    counted = targets.labels != UNKNOWN
    if settings.seen_only:
        counted = counted & targets.seen
    chosen, labels = logits[counted].float(), targets.labels[counted].long()
    each = F.cross_entropy(chosen, labels, reduction="none")
    if settings.balance and shares is not None:
        weights = shares.clamp(min=1e-6) ** -settings.balance
        each = each * (weights / (shares * weights).sum())[labels]  # a mean of 1 over the voxels of the data
    losses = {"class": each.sum() / max(1, len(labels))}
    if settings.lovasz:
        losses["lovasz"] = settings.lovasz * lovasz_softmax(chosen.softmax(-1), labels)
    return losses


def lovasz_softmax(chances: Tensor, labels: Tensor) -> Tensor:
    """The Lovasz extension of one minus the intersection over union, a mean over the classes that are there.

    Berman et al., The Lovasz-Softmax loss, CVPR 2018, section 2.2.

    Args:
        chances: (P, classes), which add up to 1.
        labels: (P,) int64.
    """
    losses = []
    for label in labels.unique().tolist():
        true = (labels == label).to(chances.dtype)
        errors, order = (true - chances[:, label]).abs().sort(descending=True)
        true = true[order]
        hits = true.sum() - true.cumsum(0)
        unions = true.sum() + (1 - true).cumsum(0)
        lost = 1 - hits / unions  # of the intersection over union when the first so many are wrong
        losses.append((errors * lost.diff(prepend=lost.new_zeros(1))).sum())
    return torch.stack(losses).mean() if losses else chances.sum() * 0
