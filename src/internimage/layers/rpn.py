"""Region proposals (Ren et al., Faster R-CNN, 2015, https://arxiv.org/abs/1506.01497)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.layers.boxes import decode, suppress

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
    """Objectness and box of every anchor: three a place, of height over width 0.5, 1 and 2, eight strides wide.

    Anchors are centred on the corner of their cell, as in the released detectors.

    Args:
        channels: width of the maps.
        strides: of the maps, in pixels.
    """

    scale = 8
    ratios = (0.5, 1.0, 2.0)

    def __init__(self, channels: int = 256, strides: Sequence[int] = (4, 8, 16, 32, 64)) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, len(self.ratios), 1)
        self.deltas = nn.Conv2d(channels, 4 * len(self.ratios), 1)

    def forward(self, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Logits (N, 3, H, W) and deltas (N, 12, H, W) of each map."""
        results = []
        for one in maps:
            hidden = F.relu(self.conv(one))
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
        boxes, scores, levels = [], [], []
        for level, (logits, deltas) in enumerate(outputs):
            score = logits[image].permute(1, 2, 0).flatten().sigmoid()
            score, order = score.sort(descending=True)
            order = order[: config.each_level]
            shifts = deltas[image].permute(1, 2, 0).reshape(-1, 4)[order]
            boxes.append(decode(anchors[level][order], shifts[:, None], _STDS, size)[:, 0])
            scores.append(score[: config.each_level])
            levels.append(torch.full_like(order, level))
        box, score, group = torch.cat(boxes), torch.cat(scores), torch.cat(levels)
        whole = (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
        box, score, group = box[whole], score[whole], group[whole]
        kept = suppress(box, score, group, config.nms_threshold)[: config.keep]
        return box[kept], score[kept]
