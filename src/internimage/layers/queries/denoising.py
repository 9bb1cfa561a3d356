"""True objects with noise, given to a decoder besides its own queries (DINO, section 3.3; after DN-DETR)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from internimage.layers.boxes import cxcywh_to_xyxy

_OTHER_LABEL = 0.25  # half of the label noise of 0.5: chance that a label becomes any label, its own included
_SHIFT = 1.0  # of a corner, over half of the box's size, at most; twice as much for boxes that are to be refused


@dataclass(frozen=True)
class NoisyObjects:
    """Queries made of true objects: groups, each with all objects once slightly wrong and once quite wrong.

    Attributes:
        labels: (N, D) classes; -1 in slots that are not used.
        boxes: (N, D, 4) centre and size, as shares of the image.
        objects: (N, D) the object that a query is to find, as an index into all objects of all images; -1 for none.
        attention_mask: (D + Q, D + Q) bool, true where a query attends to another: own queries to own queries alone,
            groups to themselves and to own queries.
    """

    labels: Tensor
    boxes: Tensor
    objects: Tensor
    attention_mask: Tensor


def noisy_objects(
    labels: Sequence[Tensor], boxes: Sequence[Tensor], num_classes: int, queries: int, wanted: int
) -> NoisyObjects | None:
    """Noise from PyTorch's generator; None if there is no object or none is wanted.

    Args:
        labels: (G_i,) classes of each image's objects.
        boxes: (G_i, 4) centre and size, as shares of the image.
        num_classes: classes to mistake one for.
        queries: Q, of the decoder itself.
        wanted: about how many noisy objects an image gets without counting the quite wrong ones; at least all once.
    """
    counts = [len(one) for one in labels]
    most, total, device = max(counts), sum(counts), boxes[0].device
    if most == 0 or wanted == 0:
        return None
    groups = max(1, wanted // most)
    label = torch.cat(list(labels)).repeat(2 * groups)
    box = torch.cat(list(boxes)).repeat(2 * groups, 1)
    wrong = (torch.rand(len(label), device=device) < _OTHER_LABEL).nonzero()[:, 0]
    label[wrong] = torch.randint(num_classes, (len(wrong),), device=device)
    sign = torch.randint(2, box.shape, device=device).float() * 2 - 1
    size = torch.rand(box.shape, device=device)
    quite = (torch.arange(2 * groups, device=device) % 2).repeat_interleave(total)
    half = box[:, 2:].repeat(1, 2) / 2
    moved = (cxcywh_to_xyxy(box) + (size + quite[:, None]) * sign * half * _SHIFT).clamp(0, 1)
    centre, extent = (moved[:, :2] + moved[:, 2:]) / 2, moved[:, 2:] - moved[:, :2]

    image = torch.cat([torch.full((count,), index, device=device) for index, count in enumerate(counts)])
    slot = torch.cat([torch.arange(count, device=device) for count in counts])
    repeat = torch.arange(2 * groups, device=device)[:, None]
    position = image.repeat(2 * groups), (slot + repeat * most).flatten()
    length = 2 * groups * most
    all_labels = torch.full((len(counts), length), -1, device=device)
    all_boxes = box.new_full((len(counts), length, 4), 0.5)
    objects = all_labels.clone()
    all_labels[position] = label
    all_boxes[position] = torch.cat([centre, extent], dim=1)
    objects[position] = torch.where(repeat % 2 == 0, torch.arange(total, device=device), -1).flatten()

    group = torch.cat(
        [torch.arange(length, device=device) // (2 * most), torch.full((queries,), groups, device=device)]
    )
    attention_mask = (group[:, None] == group) | (group == groups)
    return NoisyObjects(all_labels, all_boxes, objects, attention_mask)
