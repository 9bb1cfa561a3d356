"""Region proposals (Ren et al., Faster R-CNN, 2015, https://arxiv.org/abs/1506.01497)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.layers.boxes import decode, encode, nms
from internimage.layers.rcnn.assigner import IGNORED, assign, sample
from internimage.ops import conv2d
from internimage.structures.batching import padded
from internimage.structures.detection import DetectionTarget

_STDS = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class ProposalConfig:
    """How many boxes an image passes on.

    Attributes:
        each_level: best anchors of each map that are looked at.
        keep: best boxes of the image that are left.
        nms_threshold: largest overlap of two of them.
    """

    each_level: int = 1000
    keep: int = 1000
    nms_threshold: float = 0.7


class RPN(nn.Module):
    """Objectness and box of every anchor: three a place, of height over width 0.5, 1 and 2.

    Anchors are centred on the corner of their cell, as in the released detectors.

    Args:
        channels: width of the maps.
        scale: side of a square anchor, in strides of its map.
        strides: of the maps, in pixels.
    """

    ratios = (0.5, 1.0, 2.0)

    def __init__(self, channels: int = 256, scale: int = 8, strides: Sequence[int] = (4, 8, 16, 32, 64)) -> None:
        super().__init__()
        self.scale = scale
        self.strides = tuple(strides)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, len(self.ratios), 1)
        self.deltas = nn.Conv2d(channels, 4 * len(self.ratios), 1)
        for layer in (self.conv, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Logits (N, 3, H, W) and deltas (N, 12, H, W) of each map."""
        results = []
        for one in maps:
            hidden = conv2d(self.conv, one, relu=True)
            results.append((self.objectness(hidden), self.deltas(hidden)))
        return results

    def anchors(self, level: int, height: int, width: int, device: torch.device) -> Tensor:
        """(H * W * 3, 4) in pixels of the padded image, row by row, the three of a place together."""
        stride = self.strides[level]
        ratios = torch.tensor(self.ratios, device=device).sqrt()
        half = 0.5 * self.scale * stride * torch.stack([1 / ratios, ratios], dim=1)
        base = torch.cat([-half, half], dim=1)
        y, x = torch.meshgrid(*(torch.arange(n, device=device) * stride for n in (height, width)), indexing="ij")
        return (torch.stack([x, y, x, y], dim=-1)[:, :, None] + base).reshape(-1, 4)

    def propose(
        self, outputs: Sequence[tuple[Tensor, Tensor]], sizes: Sequence[tuple[int, int]], config: ProposalConfig
    ) -> list[tuple[Tensor, Tensor]]:
        """Boxes (K, 4) and scores (K,) of each image, best first, cut to its ``sizes`` (height, width)."""
        anchors = []
        for level, (logits, _) in enumerate(outputs):
            height, width = logits.shape[2:]
            anchors.append(self.anchors(level, height, width, logits.device))
        return [self._propose(outputs, index, anchors, size, config) for index, size in enumerate(sizes)]

    def _propose(
        self,
        outputs: Sequence[tuple[Tensor, Tensor]],
        image: int,
        anchors: Sequence[Tensor],
        size: tuple[int, int],
        config: ProposalConfig,
    ) -> tuple[Tensor, Tensor]:
        references, shifts, scores, levels = [], [], [], []
        for level, (logits, deltas) in enumerate(outputs):
            score = logits[image].permute(1, 2, 0).flatten().float().sigmoid()
            score, order = score.sort(descending=True)
            best = torch.sym_min(order.shape[0], config.each_level)  # exported, as an expression of the picture's size
            order = order[:best]
            references.append(anchors[level][order])
            shifts.append(deltas[image].permute(1, 2, 0).reshape(-1, 4)[order])
            scores.append(score[:best])
            levels.append(torch.full_like(order, level))
        box = decode(torch.cat(references), torch.cat(shifts)[:, None], _STDS, size)[:, 0]
        score, group = torch.cat(scores), torch.cat(levels)
        whole = (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
        box, score, group = box[whole], score[whole], group[whole]
        kept = nms(box, score, group, config.nms_threshold)[: config.keep]
        return box[kept], score[kept]

    def losses(
        self,
        outputs: Sequence[tuple[Tensor, Tensor]],
        sizes: Sequence[tuple[int, int]],
        targets: Sequence[DetectionTarget],
        *,
        inside: bool = False,
        beta: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy and smooth L1 of 256 sampled anchors of each image, half of them objects at most.

        Args:
            outputs: of :meth:`forward`.
            sizes: (height, width) of the images without padding.
            targets: the objects.
            inside: leave out anchors that reach beyond the image; else those alone that lie in a batch's padding.
            beta: of smooth L1; 0 is L1.
        """
        shapes = [one.shape[2:] for one, _ in outputs]
        anchors = [self.anchors(i, shape[0], shape[1], outputs[0][0].device) for i, shape in enumerate(shapes)]
        references = torch.cat(anchors)
        logits = torch.cat([one.permute(0, 2, 3, 1).flatten(1) for one, _ in outputs], dim=1).float()
        deltas = torch.cat([one.permute(0, 2, 3, 1).reshape(len(one), -1, 4) for _, one in outputs], dim=1).float()
        classification, distance, count = logits.new_zeros(()), logits.new_zeros(()), 0
        for index, (size, truth) in enumerate(zip(sizes, targets, strict=True)):
            assigned = self.assign_anchors(anchors, shapes, size, truth, inside=inside)
            positives, negatives = sample(assigned, 256, 0.5)
            classification = classification + F.softplus(-logits[index, positives]).sum()
            classification = classification + F.softplus(logits[index, negatives]).sum()
            wanted = encode(references[positives], truth.boxes[assigned[positives]], _STDS)
            distance = distance + F.smooth_l1_loss(deltas[index, positives], wanted, reduction="sum", beta=beta)
            count += max(1, len(positives)) + max(1, len(negatives))
        return classification / count, distance / count

    def assign_anchors(
        self,
        anchors: Sequence[Tensor],
        shapes: Sequence[Sequence[int]],
        size: tuple[int, int],
        truth: DetectionTarget,
        *,
        inside: bool,
    ) -> Tensor:
        """The object of each anchor of all levels, see :func:`assign`; those that are left out are ignored."""
        references = torch.cat(list(anchors))
        if inside:
            height, width = size
            usable = (references[:, :2] >= 0).all(1) & (references[:, 2] < width) & (references[:, 3] < height)
        else:
            usable = torch.cat(
                [self._in_image(*each, size, references.device) for each in zip(self.strides, shapes, strict=True)]
            )
        assigned = torch.full_like(references[:, 0], IGNORED, dtype=torch.int64)
        assigned[usable] = assign(truth.boxes, references[usable], 0.7, 0.3, 0.3)
        return assigned

    def _in_image(self, stride: int, shape: Sequence[int], size: tuple[int, int], device: torch.device) -> Tensor:
        """Whether the cell of an anchor lies in the image, itself padded to a multiple of 32: (H * W * 3,)."""
        ends = [-(-padded(side) // stride) for side in size]
        y, x = (torch.arange(n, device=device) < end for n, end in zip(shape, ends, strict=True))
        return (y[:, None] & x).flatten().repeat_interleave(len(self.ratios))
