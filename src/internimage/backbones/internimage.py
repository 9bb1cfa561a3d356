"""InternImage: a hierarchical backbone of deformable convolutions, DCNv3 or, as FlashInternImage, DCNv4.

Paper: Wang et al., "InternImage: Exploring Large-Scale Vision Foundation Models with Deformable Convolutions",
CVPR 2023, https://arxiv.org/abs/2211.05778: block and stem in section 3.2 and figure 3, scaling rules in section 3.3.
The switches of H and G (depthwise 5x5, centre feature scale, extra post-norms in stage 3) are those of the released
models.

Reading order: block, stage, network; the deformable layers are in ``deformable.py``.  Tensors are channels last,
(N, H, W, C), between the stem and the outputs; the outputs are NCHW views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from internimage.backbones.config import InternImageConfig
from internimage.backbones.deformable import LAYERS, DCNv3, DCNv4
from internimage.backbones.parts import (
    ACTIVATIONS,
    MLP,
    DropPath,
    check_images,
    checked_stages,
    convolve,
    inflated,
    initialise_linear,
    layer_norm,
    norm,
    recomputed,
    set_drop_paths,
)
from internimage.description import ModelDescription
from internimage.errors import ConfigError
from internimage.ops import add, normalise


class Block(nn.Module):
    """Deformable convolution and MLP, each a residual branch (paper, figure 3)."""

    def __init__(self, channels: int, groups: int, config: InternImageConfig) -> None:
        super().__init__()
        self.post_norm = config.post_norm
        self.norm1 = layer_norm(channels)
        self.dcn = LAYERS[config.layer](channels, groups, config)
        self.norm2 = layer_norm(channels)
        self.mlp = MLP(channels, int(channels * config.mlp_ratio), config.activation, bias=config.mlp_bias)
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
        before, after = (None, norm) if self.post_norm else (norm, res_post_norm)
        y = branch(x if before is None else before(x))
        if type(self.drop_path) is DropPath and not self.drop_path.drops:
            return add(x, y, scale, after)
        y = y if after is None else after(y)
        return x + self.drop_path(y if scale is None else scale * y)


class Stem(nn.Module):
    """Two 3x3 convolutions of stride 2: image (N, C, H, W) to (N, ceil(H/4), ceil(W/4), channels)."""

    def __init__(self, channels: int, config: InternImageConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(config.in_channels, channels // 2, 3, stride=2, padding=1)
        self.norm1 = norm(config.norm_layer, channels // 2)
        self.activation = ACTIVATIONS[config.activation]()
        self.conv2 = nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1)
        self.norm2 = norm(config.norm_layer, channels)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv1(image.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)
        x = normalise(self.norm1, x, self.activation)
        return self.norm2(convolve(self.conv2, x))


class Downsample(nn.Module):
    """3x3 convolution of stride 2 that doubles the channels, then a norm."""

    def __init__(self, channels: int, config: InternImageConfig) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
        self.norm = norm(config.norm_layer, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(convolve(self.conv, x))


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
            x = recomputed(block, x) if recompute else block(x)
            if index in self.post_norm_blocks:
                x = self.post_norms[self.post_norm_blocks.index(index)](x)
        return x if self.norm is None else self.norm(x)


class InternImage(nn.Module):
    """The backbone: an image (N, C, H, W) to a list of maps (N, C_i, ceil(H/s_i), ceil(W/s_i)), s_i = 4, 8, 16, 32.

    Args:
        config: the architecture.
        out_indices: stages whose maps ``forward`` returns, in ascending order; later stages are not computed.
        with_stem: False leaves the stem out, for a network that shares another's, see :meth:`from_stem`.

    The maps are taken before downsampling, after the stage's norm where it has one.  Any image size of at least 1x1
    works; sizes round up.  Images are RGB, normalised as the weights expect.
    """

    description: ModelDescription | None = None
    class_tensors: ClassVar[tuple[str, ...]] = ()
    interleaved: ClassVar[tuple[str, ...]] = ()
    classifier_parts: ClassVar[tuple[str, ...]] = ()
    background: ClassVar[int] = 0

    def __init__(
        self, config: InternImageConfig, out_indices: Sequence[int] = (0, 1, 2, 3), *, with_stem: bool = True
    ) -> None:
        super().__init__()
        if not isinstance(config, InternImageConfig):
            raise ConfigError(
                f"this stands on an InternImage; expected an InternImageConfig, not a {type(config).__name__}"
            )
        self.config = config
        count = len(config.depths)
        self.out_indices = checked_stages(out_indices, count)
        self.stem = Stem(config.channels, config) if with_stem else None
        self.stages = nn.ModuleList(Stage(index, config) for index in range(count))
        self._frozen_stages = 0
        for module in self.modules():
            if isinstance(module, nn.Linear):
                initialise_linear(module, config.linear_std)
        for module in self.modules():
            if isinstance(module, DCNv3 | DCNv4):
                module.reset_parameters()
        # as the convolutions' inputs: otherwise every call rearranges the weights, or takes a slower algorithm
        self.to(memory_format=torch.channels_last)

    @property
    def backbone(self) -> InternImage:
        """Itself: a network alone is asked for its backbone as every model is."""
        return self

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of the maps that ``forward`` returns."""
        return tuple(self.config.stage_channels[index] for index in self.out_indices)

    @property
    def feature_strides(self) -> tuple[int, ...]:
        """Strides of the maps that ``forward`` returns."""
        return tuple(4 * 2**index for index in self.out_indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        check_images(images, self.config.in_channels)
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

    def backbones(self) -> dict[str, InternImage]:
        """This network, under the empty prefix; see :meth:`internimage.models.model.Model.backbones`."""
        return {"": self}

    def take_channels(self, channels: int) -> None:
        """Take images of so many channels, with a first convolution made of the one there is; see :func:`inflated`."""
        if self.stem is not None:
            self.stem.conv1 = inflated(self.stem.conv1, channels)
        self.config = replace(self.config, in_channels=channels)

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        """Prefixes of the parameters of each block, in order.

        The stem goes with the first block, what stands between two stages with the first block of the second, an extra
        norm with the block before it.
        """
        layers: list[list[str]] = []
        between: list[str] = ["stem."]
        for number, stage in enumerate(self._stages()):
            for block in range(len(stage.blocks)):
                layers.append([f"stages.{number}.blocks.{block}.", *between])
                between = []
                if block in stage.post_norm_blocks:
                    layers[-1].append(f"stages.{number}.post_norms.{stage.post_norm_blocks.index(block)}.")
            between = [f"stages.{number}.norm.", f"stages.{number}.downsample."]
        layers[-1] += between
        return [tuple(layer) for layer in layers]

    def shardable(self) -> list[nn.Module]:
        """The blocks."""
        return [block for stage in self._stages() for block in stage.blocks]

    def set_drop_path_rate(self, rate: float) -> None:
        """Stochastic depth for training: rates rise linearly over the blocks from 0 to ``rate``."""
        set_drop_paths(self, rate)

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
