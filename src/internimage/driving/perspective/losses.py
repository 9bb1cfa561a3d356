"""What the cells of single pictures learn (Park et al., DD3D, ICCV 2021; Tian et al., FCOS, ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.driving.perspective.assignment import assign
from internimage.driving.perspective.decoding import CameraBoxes, chosen_boxes, in_one_part, stacked
from internimage.driving.perspective.head import PerspectiveMaps, cell_rows
from internimage.driving.perspective.settings import PerspectiveConfig
from internimage.driving.perspective.targets import NO_ATTRIBUTE, CameraTargets
from internimage.layers.queries.losses import FOCAL_ALPHA, FOCAL_GAMMA, mean_over_processes

PARTS = ("rotations", "centres", "depths", "sizes")
"""Of a box in space, each with a loss of its own."""

_PART_WEIGHT, _ATTRIBUTE_WEIGHT, _SPEED_WEIGHT = 2.0, 0.2, 0.2
_BEND = 0.05  # metres, and metres a second
_LEAST = 1e-6  # of all centrality


def perspective_losses(
    maps: Sequence[PerspectiveMaps], targets: Sequence[CameraTargets], config: PerspectiveConfig
) -> dict[str, Tensor]:
    """Ten losses, weighted: "class", "sides", "centrality", those of :data:`PARTS`, "confidence", "attribute", "speed".

    A part's loss is how far the corners of true boxes move with that part as it was found (Simonelli et al.,
    Disentangling Monocular 3D Object Detection, ICCV 2019).  Numbers of cells and sums of centrality are means over
    all processes.

    Args:
        maps: of M pictures.
        targets: of each picture.
        config: of the head.
    """
    rows, shapes = cell_rows(maps), [(one.logits.shape[2], one.logits.shape[3]) for one in maps]
    learnt = assign(targets, shapes, config)
    labels = torch.cat([one.labels for one in targets])[learnt.boxes]
    count, total = mean_over_processes(
        torch.stack([learnt.centrality.new_tensor(len(labels)), learnt.centrality.sum()])
    ).unbind()
    count, total = count.clamp(min=1), total.clamp(min=_LEAST)
    shares = learnt.centrality / total
    truth = stacked([one.boxes() for one in targets]).chosen(learnt.boxes)
    found = chosen_boxes(rows, learnt.cells, labels, learnt.places, truth.from_pixels, config)
    middle = rows.centrality[learnt.cells, 0]
    losses = {
        "class": _focal(rows.logits, learnt.cells, labels) / count,
        "sides": (shares * _overlap_loss(rows.sides[learnt.cells], learnt.sides)).sum(),
        "centrality": F.binary_cross_entropy_with_logits(middle, learnt.centrality, reduction="sum") / count,
    }
    corners = truth.corners()
    for part in PARTS:
        moved = bent(in_one_part(truth, found, part).corners() - corners).mean((1, 2))
        losses[part] = _PART_WEIGHT * (shares * moved).sum()
    confidence = rows.confidences[learnt.cells, labels]
    losses["confidence"] = (shares * _confidence_loss(confidence, found, corners)).sum()
    attributes = torch.cat([one.attributes for one in targets])[learnt.boxes]
    losses["attribute"] = _ATTRIBUTE_WEIGHT * _attribute_loss(rows.attributes[learnt.cells], attributes)
    speeds = torch.cat([one.speeds for one in targets])[learnt.boxes]
    losses["speed"] = _SPEED_WEIGHT * _speed_loss(rows.speeds[learnt.cells, 0], speeds, learnt.centrality)
    return losses


def bent(difference: Tensor) -> Tensor:
    """Smooth L1 distances as the released code has them: below 0.05 half the square, which is not divided by 0.05."""
    size = difference.abs()
    return torch.where(size < _BEND, 0.5 * size.square(), size - 0.5 * _BEND)


def _focal(logits: Tensor, cells: Tensor, labels: Tensor) -> Tensor:
    from torchvision.ops import sigmoid_focal_loss

    wanted = torch.zeros_like(logits)
    wanted[cells, labels] = 1.0
    loss: Tensor = sigmoid_focal_loss(logits, wanted, FOCAL_ALPHA, FOCAL_GAMMA, "sum")
    return loss


def _overlap_loss(found: Tensor, true: Tensor) -> Tensor:
    """1 - generalised overlap of boxes that both hold the cell, whose sides are (P, 4) pixels away, one pixel added."""
    common = (torch.minimum(found, true)[:, :2] + torch.minimum(found, true)[:, 2:]).prod(-1)
    hull = (torch.maximum(found, true)[:, :2] + torch.maximum(found, true)[:, 2:]).prod(-1)
    union = sum((one[:, :2] + one[:, 2:]).prod(-1) for one in (found, true)) - common
    return 1 - (common + 1) / (union + 1) + (hull - union) / hull


def _confidence_loss(logits: Tensor, found: CameraBoxes, corners: Tensor) -> Tensor:
    """(P,) cross-entropy with a confidence that falls with the mean distance of corners along the axes."""
    off = (found.corners().detach() - corners).abs().mean((1, 2))
    return F.binary_cross_entropy_with_logits(logits, (-off).exp(), reduction="none")


def _attribute_loss(logits: Tensor, attributes: Tensor) -> Tensor:
    known = attributes != NO_ATTRIBUTE
    return F.cross_entropy(logits[known], attributes[known], reduction="sum") / known.sum().clamp(min=1)


def _speed_loss(found: Tensor, speeds: Tensor, centrality: Tensor) -> Tensor:
    known = speeds.isfinite()
    apart = F.smooth_l1_loss(found[known], speeds[known], reduction="none", beta=_BEND)
    return (centrality[known] * apart).sum() / centrality[known].sum().clamp(min=_LEAST)
