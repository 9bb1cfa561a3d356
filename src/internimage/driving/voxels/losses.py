"""What a network learns from classes of voxels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.driving.bev.inputs import VoxelTargets
from internimage.driving.data.occ3d import UNKNOWN
from internimage.driving.voxels.settings import VoxelLosses
from internimage.errors import ConfigError

_FORGOTTEN = 0.05


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
    logits: Tensor,
    labels: Tensor,
    settings: VoxelLosses,
    standing: Tensor,
    shares: Tensor | None = None,
    memory: VoxelMemory | None = None,
) -> dict[str, Tensor]:
    """Cross-entropy "class", a mean over voxels, and "lovasz" where it has a weight.

    Args:
        logits: (P, classes) of the voxels that are drawn.
        labels: (P,) int64, what they are.
        settings: how they count.
        standing: (classes,) for how many voxels each of a class stands, see :func:`drawn`.
        shares: (classes,) of the voxels that are of each class, for ``settings.balance``.
        memory: of the batches before, which then has this one too; None for none.

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
    if settings.lovasz and memory is None:
        losses["lovasz"] = settings.lovasz * lovasz_softmax(logits.softmax(-1), labels, counts)
    elif settings.lovasz and memory is not None:
        lost = lovasz_softmax(logits.softmax(-1), labels, counts, memory.before())
        losses["lovasz"] = settings.lovasz * (1 + memory.batches) * lost  # of a share of the voxels
        memory.add(logits, labels, counts)
    return losses


def lovasz_softmax(
    chances: Tensor, labels: Tensor, counts: Tensor | None = None, before: Tensor | None = None
) -> Tensor:
    """The Lovasz extension of one minus the intersection over union, a mean over the classes that are there.

    Berman et al., The Lovasz-Softmax loss, CVPR 2018, section 2.2.

    Args:
        chances: (P, classes), which add up to 1.
        labels: (P,) int64.
        counts: (P,) for how many each stands; one where there are none.
        before: (classes, 2) hits and unions of other voxels, which count too: what is lost is that of all of them, of
            classes that are there among them.
    """
    losses = []
    counts = chances.new_ones(len(labels)) if counts is None else counts.to(chances.dtype)
    there = set(labels.unique().tolist())
    others = chances.new_zeros(chances.shape[1], 2) if before is None else before.to(chances.dtype)
    there |= set((others[:, 1] > 0).nonzero().flatten().tolist())
    for label in sorted(there):
        true = (labels == label).to(chances.dtype)
        errors, order = (true - chances[:, label]).abs().sort(descending=True)
        true, own = true[order], counts[order]
        total = (true * own).sum()
        hits = others[label, 0] + total - (true * own).cumsum(0)
        unions = others[label, 1] + total + ((1 - true) * own).cumsum(0)
        lost = 1 - hits / unions  # of the intersection over union when the first so many are wrong
        none = (others[label, 1] - others[label, 0]) / (others[label, 1] + total).clamp(min=1e-12)
        losses.append((errors * lost.diff(prepend=none[None])).sum())
    return torch.stack(losses).mean() if losses else chances.sum() * 0


class VoxelMemory(nn.Module):
    """What the batches before found of each class, for the intersection over union of many frames.

    Args:
        classes: how many there are.
        batches: that count as much as the one that is learnt.
    """

    totals: Tensor

    def __init__(self, classes: int, batches: float) -> None:
        super().__init__()
        self.batches = batches
        self.register_buffer("totals", torch.zeros(classes, 2))

    def before(self) -> Tensor:
        """(classes, 2) hits and unions."""
        return self.batches * self.totals

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor, counts: Tensor) -> None:
        """Remember a batch, see :func:`voxel_losses`; the mean over batches forgets a twentieth each time."""
        found, classes = logits.argmax(1), len(self.totals)
        right = found == labels
        hits, true, said = (
            torch.zeros(classes, device=counts.device).index_add(0, one, counts.float() * weight)
            for one, weight in ((labels, right.float()), (labels, 1.0), (found, 1.0))
        )
        now = torch.stack([hits, true + said - hits], dim=1)
        begun = bool((self.totals > 0).any())
        self.totals.lerp_(now, _FORGOTTEN if begun else 1.0)
