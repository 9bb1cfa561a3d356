"""Every cell of every map says what is there: class, box in the picture, box in space (Park et al., DD3D, ICCV 2021).

BEVFormer v2 (Yang et al., CVPR 2023, https://arxiv.org/abs/2211.10439, section 3.2) lets a backbone learn from single
pictures so, and gets its first guesses from here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.driving.perspective.settings import PerspectiveConfig
from internimage.ops import conv2d

_QUATERNION, _PLANE, _SPACE, _SIDES, _ATTRIBUTES = 4, 2, 3, 4, 3
_PRIOR = 0.01  # chance of a class at the start
_SPREAD = 0.01  # of the first weights of what is predicted
_DEPTH_SCALE = 0.3
_AHEAD = (0.5, 0.5, -0.5, 0.5)  # how all boxes stand at the start: upright, heading away


@dataclass(frozen=True)
class PerspectiveMaps:
    """What the cells of one level say, of M pictures and K classes.

    Attributes:
        logits: (M, K, H, W) of the classes.
        sides: (M, 4, H, W) pixels from the cell to left, top, right and bottom of the box in the picture.
        centrality: (M, 1, H, W) logits of being in its middle.
        quaternions: (M, 4 * K, H, W) w, x, y, z of any length, those of all classes one after the other; the box as it
            looks from where the camera is.
        centres: (M, 2 * K, H, W) pixels from the cell to the centre of the volume, x then y.
        depths: (M, K, H, W) metres that a camera of the head's focal length would measure.
        sizes: (M, 3 * K, H, W) of width, length and height, what their tangent hyperbolic adds to the class's size.
        confidences: (M, K, H, W) logits of the box in space being right.
        attributes: (M, 3, H, W) logits of what it does.
        speeds: (M, 1, H, W) metres a second.
    """

    logits: Tensor
    sides: Tensor
    centrality: Tensor
    quaternions: Tensor
    centres: Tensor
    depths: Tensor
    sizes: Tensor
    confidences: Tensor
    attributes: Tensor
    speeds: Tensor


def cell_rows(maps: Sequence[PerspectiveMaps]) -> PerspectiveMaps:
    """All cells of all levels one after the other, (cells, channels) float32: level, picture, row, column."""
    rows = {
        one.name: torch.cat([getattr(level, one.name).permute(0, 2, 3, 1).flatten(0, 2) for level in maps]).float()
        for one in fields(PerspectiveMaps)
    }
    return PerspectiveMaps(**rows)


class LevelConvolution(nn.Module):
    """3x3 convolution, batch normalisation of each level's own, ReLU."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(levels))
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [F.relu(norm(conv2d(self.conv, one))) for norm, one in zip(self.norms, maps, strict=True)]


class PerspectiveHead(nn.Module):
    """Maps of pictures to what their cells say.

    Args:
        config: its architecture.
        channels: C of the maps.
        num_classes: K.
    """

    mean_depths: Tensor
    depth_spreads: Tensor

    def __init__(self, config: PerspectiveConfig, channels: int, num_classes: int) -> None:
        super().__init__()
        levels = len(config.strides)
        self.channels = channels
        self.class_tower, self.plane_tower, self.space_tower = (
            nn.ModuleList(LevelConvolution(channels, levels) for _ in range(config.convolutions)) for _ in range(3)
        )
        self.sides, self.centrality = self._output(_SIDES), self._output(1)
        self.attributes, self.speeds = self._output(_ATTRIBUTES), self._output(1)
        self.sides_scales, self.centre_scales = (
            nn.ParameterList(torch.tensor([float(stride)]) for stride in config.strides) for _ in range(2)
        )
        self.size_scales, self.confidence_scales = (
            nn.ParameterList(torch.ones(1) for _ in config.strides) for _ in range(2)
        )
        self.depth_scales = nn.ParameterList(torch.tensor([_DEPTH_SCALE * one]) for one in config.depth_spreads)
        self.depth_offsets = nn.ParameterList(torch.tensor([one]) for one in config.mean_depths)
        # as the released files have them; what is learnt are the scales and offsets, which begin there
        self.register_buffer("mean_depths", torch.tensor(config.mean_depths))
        self.register_buffer("depth_spreads", torch.tensor(config.depth_spreads))
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        """Start anew what is predicted of each class, for another number of them."""
        like = self.speeds.weight
        self.logits = self._output(num_classes).to(like)
        nn.init.constant_(self.logits.bias, -math.log((1 - _PRIOR) / _PRIOR))  # type: ignore[arg-type]
        self.quaternions = self._output(_QUATERNION * num_classes).to(like)
        with torch.no_grad():
            self.quaternions.bias.copy_(torch.tensor(_AHEAD).repeat_interleave(num_classes))  # type: ignore[union-attr]
        self.centres = self._output(_PLANE * num_classes).to(like)
        self.depths = self._output(num_classes, bias=False).to(like)
        self.sizes = self._output(_SPACE * num_classes).to(like)
        self.confidences = self._output(num_classes).to(like)

    def _output(self, channels: int, *, bias: bool = True) -> nn.Conv2d:
        layer = nn.Conv2d(self.channels, channels, 3, padding=1, bias=bias)
        nn.init.normal_(layer.weight, std=_SPREAD)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        return layer

    def forward(self, maps: Sequence[Tensor]) -> list[PerspectiveMaps]:
        """Maps (M, C, H_i, W_i), fine to coarse, to what each level says."""
        towers = []
        for tower in (self.class_tower, self.plane_tower, self.space_tower):
            each = list(maps)
            for layer in tower:
                each = layer(each)
            towers.append(each)
        return [
            PerspectiveMaps(
                self.logits(kind),
                F.relu(self.sides(plane) * self.sides_scales[level]),
                self.centrality(plane),
                self.quaternions(space),
                self.centres(space) * self.centre_scales[level],
                self.depths(space) * self.depth_scales[level] + self.depth_offsets[level],
                self.sizes(space) * self.size_scales[level],
                self.confidences(space) * self.confidence_scales[level],
                self.attributes(kind),
                F.relu(self.speeds(kind)),
            )
            for level, (kind, plane, space) in enumerate(zip(*towers, strict=True))
        ]
