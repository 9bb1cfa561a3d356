"""InternImage: a hierarchical backbone whose spatial operator is DCNv3.

Paper: Wang et al., "InternImage: Exploring Large-Scale Vision Foundation Models with Deformable Convolutions",
CVPR 2023, https://arxiv.org/abs/2211.05778: block and stem in section 3.2 and figure 3, scaling rules in section 3.3.
The switches of H and G (depthwise 5x5, centre feature scale, extra post-norms in stage 3) are those of the released
models.

Reading order: operator module, block, stage, network.  Tensors are channels last, (N, H, W, C), between the
stem and the outputs; the outputs are NCHW views.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from internimage.description import ModelDescription
from internimage.errors import ConfigError, InputSizeError
from internimage.ops import LayerNorm, dcnv3, linear

NormLayer = Literal["layer", "batch"]
Activation = Literal["gelu", "silu", "relu"]

ACTIVATIONS: dict[Activation, type[nn.Module]] = {"gelu": nn.GELU, "silu": nn.SiLU, "relu": nn.ReLU}
_LAYER_NORM_EPS = 1e-6
_BATCH_NORM_EPS = 1e-5


@dataclass(frozen=True)
class InternImageConfig:
    """Architecture of an InternImage backbone.  Stage i has ``channels * 2**i`` channels and stride ``4 * 2**i``.

    Attributes:
        channels: width of the first stage.
        depths: blocks of each stage.
        groups: DCNv3 groups of each stage; a divisor of the stage's channels.
        mlp_ratio: hidden width of the MLP over the block's width.
        norm_layer: normalisation in the stem, the downsampling layers and the depthwise branch.  Block and stage
            norms are always LayerNorm.
        activation: non-linearity of stem, depthwise branch and MLP.
        post_norm: normalise a branch's output instead of its input.
        res_post_norm: normalise a branch's output as well as its input (InternImage-H).
        layer_scale: initial value of the learned per-channel scale of each branch; None for no scale.
        offset_scale: DCNv3 stretches kernel grid and offsets by it.
        depthwise_kernel_size: kernel of the depthwise convolution that predicts offsets and mask.
        center_feature_scale: blend the operator's output with its input by a learned gate per group.
        remove_center: DCNv3 without its central point.
        mask_softmax: whether the weights of a group's points sum to one.  False leaves them unbounded, as in DCNv4
            (Xiong et al., CVPR 2024, section 3.1), which learns faster from scratch.
        post_norm_blocks: blocks of the third stage followed by an extra LayerNorm (InternImage-H and G).
        linear_std: standard deviation with which linear layers start; None for the inverse root of their inputs.
    """

    channels: int
    depths: tuple[int, ...]
    groups: tuple[int, ...]
    mlp_ratio: float = 4.0
    norm_layer: NormLayer = "layer"
    activation: Activation = "gelu"
    post_norm: bool = False
    res_post_norm: bool = False
    layer_scale: float | None = None
    offset_scale: float = 1.0
    depthwise_kernel_size: int = 3
    center_feature_scale: bool = False
    remove_center: bool = False
    mask_softmax: bool = True
    post_norm_blocks: tuple[int, ...] = ()
    linear_std: float | None = 0.02

    def __post_init__(self) -> None:
        if self.channels < 1 or min(self.groups, default=0) < 1 or min(self.depths, default=0) < 1:
            raise ConfigError(
                f"channels {self.channels}, depths {self.depths} and groups {self.groups} must all be at least 1"
            )
        if len(self.depths) != len(self.groups):
            raise ConfigError(f"depths {self.depths} and groups {self.groups} must name the same number of stages")
        for width, groups in zip(self.stage_channels, self.groups, strict=True):
            if width % groups:
                raise ConfigError(f"{width} channels do not divide into {groups} groups")
        if self.res_post_norm and (self.post_norm or self.layer_scale is not None):
            raise ConfigError("res_post_norm cannot be combined with post_norm or layer_scale; choose one")
        if self.depthwise_kernel_size < 1 or self.depthwise_kernel_size % 2 == 0:
            raise ConfigError(f"depthwise_kernel_size is {self.depthwise_kernel_size}; expected an odd number >= 1")
        if self.norm_layer not in ("layer", "batch") or self.activation not in ACTIVATIONS:
            raise ConfigError(f"unknown norm_layer {self.norm_layer!r} or activation {self.activation!r}")
        third = range(self.depths[2]) if len(self.depths) > 2 else range(0)
        if self.post_norm_blocks != tuple(sorted(set(self.post_norm_blocks) & set(third))):
            raise ConfigError(f"post_norm_blocks {self.post_norm_blocks} are not ascending blocks of the third stage")

    @property
    def stage_channels(self) -> tuple[int, ...]:
        return tuple(self.channels * 2**stage for stage in range(len(self.depths)))

    @property
    def has_stage_norm(self) -> bool:
        """Whether a stage ends in a LayerNorm, which its feature map then includes."""
        return not self.post_norm or self.center_feature_scale


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation of channels-last maps (N, H, W, C)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class SyncBatchNorm(nn.SyncBatchNorm):
    """:class:`BatchNorm` with statistics over all processes."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def layer_norm(channels: int) -> nn.LayerNorm:
    """LayerNorm over the last dimension with the epsilon of the released models."""
    return LayerNorm(channels, eps=_LAYER_NORM_EPS)


def _norm(kind: NormLayer, channels: int) -> nn.Module:
    return layer_norm(channels) if kind == "layer" else BatchNorm(channels, eps=_BATCH_NORM_EPS)


def _convolve(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply an NCHW convolution to a channels-last map; both permutes are views."""
    return convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class DropPath(nn.Module):
    """Stochastic depth: drop a whole residual branch per sample while training.

    Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016.  Kept branches are divided by the keep probability.
    (torchvision has the same layer; importing torchvision takes seconds.)
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty(x.shape[0], *(1 for _ in x.shape[1:])).bernoulli_(keep)
        return x * (mask / keep if keep > 0.0 else mask)


class DCNv3(nn.Module):
    """Deformable convolution whose offsets and mask come from a depthwise view of its input (paper, section 3.1)."""

    def __init__(self, channels: int, groups: int, config: InternImageConfig) -> None:
        super().__init__()
        self.groups = groups
        self.offset_scale = config.offset_scale
        self.remove_center = config.remove_center
        self.mask_softmax = config.mask_softmax
        points = 9 - int(config.remove_center)
        if config.center_feature_scale:
            self.center_scale_weight = nn.Parameter(torch.zeros(groups, channels))
            self.center_scale_bias = nn.Parameter(torch.zeros(groups))
        self.has_center_scale = config.center_feature_scale
        size = config.depthwise_kernel_size
        self.depthwise = nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels)
        self.depthwise_norm = _norm(config.norm_layer, channels)
        self.activation = ACTIVATIONS[config.activation]()
        self.offset = nn.Linear(channels, groups * points * 2)
        self.mask = nn.Linear(channels, groups * points)
        self.input_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)

    def reset_parameters(self) -> None:
        """Start on the kernel grid: with softmax as a plain average, without as a random filter for each group."""
        for predictor in (self.offset, self.mask):
            nn.init.zeros_(predictor.weight)
            nn.init.zeros_(predictor.bias)
        if not self.mask_softmax:
            nn.init.normal_(self.mask.bias, std=(self.groups / self.mask.out_features) ** 0.5)
        for projection in (self.input_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, x: Tensor) -> Tensor:
        projected = linear(self.input_proj, x)
        context = self.activation(self.depthwise_norm(_convolve(self.depthwise, x)))
        sampled = dcnv3(
            projected,
            linear(self.offset, context),
            linear(self.mask, context),
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


class MLP(nn.Module):
    """Two linear layers around a non-linearity."""

    def __init__(self, channels: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.activation = ACTIVATIONS[activation]()
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return linear(self.fc2, linear(self.fc1, x, self.activation))


class Block(nn.Module):
    """Deformable convolution and MLP, each a residual branch (paper, figure 3)."""

    def __init__(self, channels: int, groups: int, config: InternImageConfig) -> None:
        super().__init__()
        self.post_norm = config.post_norm
        self.norm1 = layer_norm(channels)
        self.dcn = DCNv3(channels, groups, config)
        self.norm2 = layer_norm(channels)
        self.mlp = MLP(channels, int(channels * config.mlp_ratio), config.activation)
        self.layer_scale1 = self.layer_scale2 = None
        if config.layer_scale is not None:
            self.layer_scale1 = nn.Parameter(torch.full((channels,), config.layer_scale))
            self.layer_scale2 = nn.Parameter(torch.full((channels,), config.layer_scale))
        self.res_post_norm1 = layer_norm(channels) if config.res_post_norm else None
        self.res_post_norm2 = layer_norm(channels) if config.res_post_norm else None
        self.drop_path = DropPath()

    def forward(self, x: Tensor) -> Tensor:
        x = self._residual(x, self.dcn, self.norm1, self.res_post_norm1, self.layer_scale1)
        return self._residual(x, self.mlp, self.norm2, self.res_post_norm2, self.layer_scale2)

    def _residual(
        self,
        x: Tensor,
        branch: nn.Module,
        norm: nn.Module,
        res_post_norm: nn.Module | None,
        scale: Tensor | None,
    ) -> Tensor:
        y = norm(branch(x)) if self.post_norm else branch(norm(x))
        if res_post_norm is not None:
            y = res_post_norm(y)
        if scale is not None:
            y = scale * y
        return x + self.drop_path(y)


class Stem(nn.Module):
    """Two 3x3 convolutions of stride 2: image (N, 3, H, W) to (N, ceil(H/4), ceil(W/4), channels)."""

    def __init__(self, channels: int, config: InternImageConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels // 2, 3, stride=2, padding=1)
        self.norm1 = _norm(config.norm_layer, channels // 2)
        self.activation = ACTIVATIONS[config.activation]()
        self.conv2 = nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1)
        self.norm2 = _norm(config.norm_layer, channels)

    def forward(self, image: Tensor) -> Tensor:
        x = self.norm1(self.conv1(image.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1))
        return self.norm2(_convolve(self.conv2, self.activation(x)))


class Downsample(nn.Module):
    """3x3 convolution of stride 2 that doubles the channels, then a norm."""

    def __init__(self, channels: int, config: InternImageConfig) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
        self.norm = _norm(config.norm_layer, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(_convolve(self.conv, x))


class Stage(nn.Module):
    """Blocks of one resolution; ``forward`` gives the map that is exposed and passed on to downsampling."""

    def __init__(self, index: int, config: InternImageConfig) -> None:
        super().__init__()
        channels = config.stage_channels[index]
        self.post_norm_blocks = config.post_norm_blocks if index == 2 else ()
        self.gradient_checkpointing = False
        self.blocks = nn.ModuleList(Block(channels, config.groups[index], config) for _ in range(config.depths[index]))
        self.norm = layer_norm(channels) if config.has_stage_norm else None
        self.post_norms = nn.ModuleList(layer_norm(channels) for _ in self.post_norm_blocks)
        self.downsample = Downsample(channels, config) if index + 1 < len(config.depths) else None

    def forward(self, x: Tensor) -> Tensor:
        for index, block in enumerate(self.blocks):
            recompute = self.gradient_checkpointing and self.training
            x = _recomputed(block, x) if recompute else block(x)
            if index in self.post_norm_blocks:
                x = self.post_norms[self.post_norm_blocks.index(index)](x)
        return x if self.norm is None else self.norm(x)


def _recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """``block(x)``, whose activations are computed again in the backward pass."""
    norms = [module for module in block.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms or torch.compiler.is_compiling():  # a compiled graph changes buffers once
        return checkpoint(block, x, use_reentrant=False)
    return checkpoint(block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _kept_statistics(norms)))


@contextmanager
def _kept_statistics(norms: Sequence[nn.Module]) -> Iterator[None]:
    """Batch normalisation counts a batch once: the second time, copies of its statistics are updated."""
    buffers = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers()]
    for norm, name, buffer in buffers:
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, name, buffer in buffers:
            setattr(norm, name, buffer)


class InternImage(nn.Module):
    """The backbone: an image (N, 3, H, W) to a list of maps (N, C_i, ceil(H/s_i), ceil(W/s_i)), s_i = 4, 8, 16, 32.

    Args:
        config: the architecture.
        out_indices: stages whose maps ``forward`` returns, in ascending order; later stages are not computed.
        with_stem: False leaves the stem out, for a network that shares another's, see :meth:`from_stem`.

    The maps are taken before downsampling, after the stage's norm where it has one.  Any image size of at least 1x1
    works; sizes round up.  Images are RGB, normalised as the weights expect.
    """

    description: ModelDescription | None = None

    def __init__(
        self, config: InternImageConfig, out_indices: Sequence[int] = (0, 1, 2, 3), *, with_stem: bool = True
    ) -> None:
        super().__init__()
        self.config = config
        self.out_indices = tuple(out_indices)
        count = len(config.depths)
        if not self.out_indices or self.out_indices != tuple(sorted(set(self.out_indices) & set(range(count)))):
            raise ConfigError(f"out_indices {self.out_indices} are not ascending stage numbers from 0 to {count - 1}")
        self.stem = Stem(config.channels, config) if with_stem else None
        self.stages = nn.ModuleList(Stage(index, config) for index in range(count))
        self._frozen_stages = 0
        for module in self.modules():
            if isinstance(module, nn.Linear):
                initialise_linear(module, config.linear_std)
        for module in self.modules():
            if isinstance(module, DCNv3):
                module.reset_parameters()
        # as the convolutions' inputs: otherwise every call rearranges the weights, or takes a slower algorithm
        self.to(memory_format=torch.channels_last)

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of the maps that ``forward`` returns."""
        return tuple(self.config.stage_channels[index] for index in self.out_indices)

    @property
    def feature_strides(self) -> tuple[int, ...]:
        """Strides of the maps that ``forward`` returns."""
        return tuple(4 * 2**index for index in self.out_indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        if images.dim() != 4 or images.shape[1] != 3:
            raise InputSizeError(f"images are {tuple(images.shape)}; expected (N, 3, H, W)")
        assert self.stem is not None
        return self.from_stem(self.stem(images))

    def from_stem(self, x: Tensor, feeds: Sequence[Tensor] | None = None) -> list[Tensor]:
        """The maps, from what the stem gives: (N, H, W, channels); ``feeds``, likewise, are added before each stage."""
        maps = []
        for index, stage in enumerate(self._stages()[: self.out_indices[-1] + 1]):
            x = stage(x if feeds is None else x + feeds[index])
            if index in self.out_indices:
                maps.append(x.permute(0, 3, 1, 2))
            if stage.downsample is not None and index < self.out_indices[-1]:
                x = stage.downsample(x)
        return maps

    def set_drop_path_rate(self, rate: float) -> None:
        """Stochastic depth for training: rates rise linearly over the blocks from 0 to ``rate``."""
        if not 0.0 <= rate < 1.0:
            raise ConfigError(f"drop path rate is {rate}; expected 0 <= rate < 1")
        paths = [module for module in self.modules() if isinstance(module, DropPath)]
        for index, path in enumerate(paths):
            path.rate = rate * index / max(1, len(paths) - 1)

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        for stage in self._stages():
            stage.gradient_checkpointing = enabled

    def freeze(self, stages: int) -> None:
        """Fix the stem and the first ``stages`` stages; 0 frees everything.

        Frozen parameters take no gradient, and the frozen part stays in evaluation mode whatever ``train()`` says.
        """
        if not 0 <= stages <= len(self.stages):
            raise ConfigError(f"cannot freeze {stages} stages; the network has {len(self.stages)}")
        self._frozen_stages = stages
        self.requires_grad_(True)
        self.train(self.training)
        for module in self._frozen():
            module.requires_grad_(False)

    def _stages(self) -> list[Stage]:
        """The stages under their own type."""
        return [stage for stage in self.stages if isinstance(stage, Stage)]

    def _frozen(self) -> list[nn.Module]:
        if not self._frozen_stages:
            return []
        # A stage's downsampling layer belongs to the next stage: it is trained with the first stage that is.
        frozen: list[nn.Module] = [] if self.stem is None else [self.stem]
        for index, stage in enumerate(self._stages()[: self._frozen_stages]):
            frozen += [child for name, child in stage.named_children() if name != "downsample"]
            if index + 1 < self._frozen_stages and stage.downsample is not None:
                frozen.append(stage.downsample)
        return frozen

    def train(self, mode: bool = True) -> InternImage:
        super().train(mode)
        for module in self._frozen():
            module.eval()
        return self


def initialise_linear(layer: nn.Linear, std: float | None) -> None:
    """Weights of a truncated normal distribution, by default 1 / sqrt(inputs), and no bias."""
    nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5 if std is None else std)
    nn.init.zeros_(layer.bias)
