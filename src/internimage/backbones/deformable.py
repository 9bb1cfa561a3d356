"""Deformable layers: an operator and the layers that predict where and how strongly it samples."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.backbones.config import InternImageConfig, Operator
from internimage.backbones.parts import ACTIVATIONS, convolve, norm
from internimage.ops import dcnv3, dcnv4, linear, normalise
from internimage.ops.packing import join_packed

_ROUNDED_TO = 8  # numbers of a packed tensor, as the released kernels want them


class DCNv3(nn.Module):
    """Deformable convolution whose offsets and mask come from a depthwise view of its input (paper, section 3.1)."""

    def __init__(self, channels: int, groups: int, config: InternImageConfig) -> None:
        super().__init__()
        self.groups = groups
        self.offset_scale = config.offset_scale
        self.remove_center = config.remove_center
        self.mask_softmax = config.mask_softmax
        self.random_filters = config.random_filters
        self.packed = config.operator == "dcnv4"
        points = 9 - int(config.remove_center)
        if config.center_feature_scale:
            self.center_scale_weight = nn.Parameter(torch.zeros(groups, channels))
            self.center_scale_bias = nn.Parameter(torch.zeros(groups))
        self.has_center_scale = config.center_feature_scale
        size = config.depthwise_kernel_size
        assert size is not None
        self.depthwise = nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels)
        self.depthwise_norm = norm(config.norm_layer, channels)
        self.activation = ACTIVATIONS[config.activation]()
        self.offset = nn.Linear(channels, groups * points * 2)
        self.mask = nn.Linear(channels, groups * points)
        self.input_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels, bias=config.output_bias)

    def reset_parameters(self) -> None:
        """Start on the kernel grid, with equal weights or a random filter for each group."""
        for predictor in (self.offset, self.mask):
            nn.init.zeros_(predictor.weight)
            nn.init.zeros_(predictor.bias)
        if self.random_filters:
            nn.init.normal_(self.mask.bias, std=(self.groups / self.mask.out_features) ** 0.5)
        _reset_projections(self.input_proj, self.output_proj)

    def forward(self, x: Tensor) -> Tensor:
        projected = linear(self.input_proj, x)
        context = normalise(self.depthwise_norm, convolve(self.depthwise, x), self.activation)
        offset, mask = linear(self.offset, context), linear(self.mask, context)
        if self.packed:
            sampled = dcnv4(
                projected,
                join_packed(offset, mask, self.groups),
                groups=self.groups,
                offset_scale=self.offset_scale,
                remove_center=self.remove_center,
                softmax=self.mask_softmax,
            )
        else:
            sampled = dcnv3(
                projected,
                offset,
                mask,
                groups=self.groups,
                offset_scale=self.offset_scale,
                remove_center=self.remove_center,
                softmax=self.mask_softmax,
            )
        if self.has_center_scale:
            gate = F.linear(context, self.center_scale_weight, self.center_scale_bias).sigmoid()
            gate = gate.repeat_interleave(x.shape[-1] // self.groups, dim=-1)
            sampled = torch.lerp(sampled, projected, gate.to(sampled.dtype))
        return linear(self.output_proj, sampled)


class DCNv4(nn.Module):
    """Deformable convolution with unbounded weights; one layer predicts them and the offsets, group by group.

    Xiong et al., CVPR 2024, https://arxiv.org/abs/2401.06197, section 3.
    """

    def __init__(self, channels: int, groups: int, config: InternImageConfig) -> None:
        super().__init__()
        self.groups = groups
        self.offset_scale = config.offset_scale
        self.remove_center = config.remove_center
        self.points = 9 - int(config.remove_center)
        self.random_filters = config.random_filters
        size = config.depthwise_kernel_size
        self.depthwise = None
        if size is not None:
            self.depthwise = nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels)
        numbers = 3 * groups * self.points
        self.offset_mask = nn.Linear(channels, -(-numbers // _ROUNDED_TO) * _ROUNDED_TO)
        self.input_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels, bias=config.output_bias)

    def reset_parameters(self) -> None:
        """Start on the kernel grid, with weights of zero or a random filter for each group."""
        nn.init.zeros_(self.offset_mask.weight)
        nn.init.zeros_(self.offset_mask.bias)
        if self.random_filters:
            packed = self.offset_mask.bias.detach()[: 3 * self.groups * self.points]
            packed.view(self.groups, 3, self.points)[:, 2].normal_(std=self.points**-0.5)
        _reset_projections(self.input_proj, self.output_proj)

    def forward(self, x: Tensor) -> Tensor:
        context = x if self.depthwise is None else convolve(self.depthwise, x)
        sampled = dcnv4(
            linear(self.input_proj, x),
            linear(self.offset_mask, context),
            groups=self.groups,
            offset_scale=self.offset_scale,
            remove_center=self.remove_center,
        )
        return linear(self.output_proj, sampled)


LAYERS: dict[Operator, type[DCNv3] | type[DCNv4]] = {"dcnv3": DCNv3, "dcnv4": DCNv4}


def _reset_projections(*projections: nn.Linear) -> None:
    for projection in projections:
        nn.init.xavier_uniform_(projection.weight)
        if projection.bias is not None:
            nn.init.zeros_(projection.bias)
