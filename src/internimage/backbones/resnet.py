"""ResNet, the backbone that released detectors stand on.

Paper: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, https://arxiv.org/abs/1512.03385: section
4.1 and table 1.  Deformable stages: Zhu et al., "Deformable ConvNets v2: More Deformable, Better Results", CVPR 2019,
https://arxiv.org/abs/1811.11168, section 3.

Reading order: convolution, block, stage, network.  As in ``internimage.py``, tensors are channels last, (N, H, W, C),
between the stem and the outputs; the outputs are NCHW views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.backbones.config import ResNetConfig
from internimage.backbones.parts import (
    DropPath,
    check_images,
    checked_stages,
    convolve,
    inflated,
    norm,
    recomputed,
    set_drop_paths,
)
from internimage.description import ModelDescription
from internimage.errors import ConfigError

_POINTS = 9


class DeformableConvolution(nn.Conv2d):
    """3x3 convolution whose nine points move and have weights of their own at every place: DCNv2, one group.

    Maps are (N, C, H, W).  ``offset_mask`` predicts 27 channels: y and x of each point in turn, in pixels, row by row
    of the kernel, then the logit of each point's weight, whose sigmoid it is multiplied by (paper, equation 1).

    Args:
        in_channels, channels: of the maps.
        stride: of the convolution.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__(in_channels, channels, 3, stride, padding=1, bias=False)
        self.offset_mask = nn.Conv2d(in_channels, 3 * _POINTS, 3, stride, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        from torchvision.ops import deform_conv2d  # takes seconds to import

        offset, logits = self.offset_mask(input).split((2 * _POINTS, _POINTS), dim=1)
        # its kernels do not know bfloat16, and float16 is too coarse for places on wide maps
        dtype = torch.promote_types(input.dtype, torch.float32)
        values = deform_conv2d(
            input.to(dtype),
            offset.to(dtype),
            self.weight.to(dtype),
            stride=(self.stride[0], self.stride[1]),
            padding=(1, 1),
            mask=logits.to(dtype).sigmoid(),
        )
        return values.to(offset.dtype).contiguous(memory_format=torch.channels_last)


class Shortcut(nn.Module):
    """1x1 convolution and norm, where a block's result has another shape than its input."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        self.norm = norm("batch", channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(convolve(self.conv, x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution, each with batch normalisation, beside a shortcut: (N, H, W, C) to likewise."""

    def __init__(self, in_channels: int, width: int, stride: int, *, deformable: bool, caffe: bool) -> None:
        super().__init__()
        first, second = (stride, 1) if caffe else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, width, 1, first, bias=False)
        self.norm1 = norm("batch", width)
        if deformable:
            self.conv2: nn.Conv2d = DeformableConvolution(width, width, second)
        else:
            self.conv2 = nn.Conv2d(width, width, 3, second, padding=1, bias=False)
        self.norm2 = norm("batch", width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.norm3 = norm("batch", 4 * width)
        alike = stride == 1 and in_channels == 4 * width
        self.shortcut = None if alike else Shortcut(in_channels, 4 * width, stride)
        self.drop_path = DropPath()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(convolve(self.conv1, x)), inplace=True)
        y = F.relu(self.norm2(convolve(self.conv2, y)), inplace=True)
        y = self.drop_path(self.norm3(convolve(self.conv3, y)))
        y += x if self.shortcut is None else self.shortcut(x)  # in place: six cameras' maps are large
        return F.relu(y, inplace=True)


class Stem(nn.Module):
    """7x7 convolution and maximum, of stride 2 each: image (N, C, H, W) to (N, ceil(H/4), ceil(W/4), channels)."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(config.in_channels, config.channels, 7, stride=2, padding=3, bias=False)
        self.norm1 = norm("batch", config.channels)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)
        x = F.relu(self.norm1(x), inplace=True).permute(0, 3, 1, 2)
        return F.max_pool2d(x, 3, stride=2, padding=1).permute(0, 2, 3, 1)


class Stage(nn.Module):
    """Blocks of one resolution, the first of which makes it."""

    def __init__(self, index: int, config: ResNetConfig) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        width, before = config.channels * 2**index, (config.channels, *config.stage_channels)[index]
        self.blocks = nn.ModuleList(
            Bottleneck(
                before if block == 0 else 4 * width,
                width,
                2 if block == 0 and index > 0 else 1,
                deformable=config.deformable[index],
                caffe=config.style == "caffe",
            )
            for block in range(config.depths[index])
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = recomputed(block, x) if self.gradient_checkpointing and self.training else block(x)
        return x


class ResNet(nn.Module):
    """The backbone: an image (N, C, H, W) to a list of maps (N, C_i, ceil(H/s_i), ceil(W/s_i)), s_i = 4, 8, 16, 32.

    Args:
        config: the architecture.
        out_indices: stages whose maps ``forward`` returns, in ascending order; later stages are not computed.

    Any image size of at least 1x1 works; sizes round up.  Images are RGB whatever the weights see, normalised as the
    weights expect.  What is not said here is as of :class:`internimage.backbones.internimage.InternImage`.
    """

    description: ModelDescription | None = None
    class_tensors: ClassVar[tuple[str, ...]] = ()
    interleaved: ClassVar[tuple[str, ...]] = ()
    classifier_parts: ClassVar[tuple[str, ...]] = ()
    background: ClassVar[int] = 0

    def __init__(self, config: ResNetConfig, out_indices: Sequence[int] = (0, 1, 2, 3)) -> None:
        super().__init__()
        self.config = config
        self.out_indices = checked_stages(out_indices, len(config.depths))
        self.stem = Stem(config)
        self.stages = nn.ModuleList(Stage(index, config) for index in range(len(config.depths)))
        self._initialise()
        self.to(memory_format=torch.channels_last)  # as the convolutions' inputs
        self.freeze(0)

    @property
    def backbone(self) -> ResNet:
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
        x = self.stem(images.flip(1) if self.config.bgr else images)
        maps = []
        for index, stage in enumerate(self._stages()[: self.out_indices[-1] + 1]):
            x = stage(x)
            if index in self.out_indices:
                maps.append(x.permute(0, 3, 1, 2))
        return maps

    def backbones(self) -> dict[str, ResNet]:
        """This network, under the empty prefix; see :meth:`internimage.models.model.Model.backbones`."""
        return {"": self}

    def take_channels(self, channels: int) -> None:
        """Take images of so many channels, with a first convolution made of the one there is; see :func:`inflated`."""
        trained = self.stem.conv1.weight.requires_grad
        if self.config.bgr:  # inflated in the order of the images
            self._turn_stem()
        self.stem.conv1 = inflated(self.stem.conv1, channels)
        if self.config.bgr:
            self._turn_stem()
        self.stem.conv1.requires_grad_(trained)
        self.config = replace(self.config, in_channels=channels)

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        """Prefixes of the parameters of each block, in order; the stem goes with the first block."""
        blocks = [(s, b) for s, depth in enumerate(self.config.depths) for b in range(depth)]
        layers = [(f"stages.{stage}.blocks.{block}.",) for stage, block in blocks]
        return [(*layers[0], "stem."), *layers[1:]]

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
        """Fix the stem and the first ``stages`` stages; 0 frees all but what the configuration fixes for good.

        Frozen parameters take no gradient, and the frozen part stays in evaluation mode whatever ``train()`` says.
        """
        if not 0 <= stages <= len(self.stages):
            raise ConfigError(f"cannot freeze {stages} stages; the network has {len(self.stages)}")
        self._frozen_stages = max(stages, self.config.frozen_stages)
        self.requires_grad_(True)
        self.train(self.training)
        for module in self._frozen():
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> ResNet:
        super().train(mode)
        for module in self._frozen():
            module.eval()
        return self

    def _stages(self) -> list[Stage]:
        """The stages under their own type."""
        return [stage for stage in self.stages if isinstance(stage, Stage)]

    def _frozen(self) -> list[nn.Module]:
        frozen = [self.stem, *self._stages()[: self._frozen_stages]] if self._frozen_stages else []
        norms = [one for one in self.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
        return [*frozen, *norms] if self.config.frozen_norm else list(frozen)

    @torch.no_grad()
    def _turn_stem(self) -> None:
        """Reverse the order of the channels that the first convolution sees."""
        weight = self.stem.conv1.weight
        self.stem.conv1.weight = nn.Parameter(weight.flip(1))

    def _initialise(self) -> None:
        """As published (He et al., ICCV 2015); blocks start as their shortcuts (Goyal et al., 2017, section 5.1)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, DeformableConvolution):
                nn.init.zeros_(module.offset_mask.weight)
                if module.offset_mask.bias is not None:
                    nn.init.zeros_(module.offset_mask.bias)
            elif isinstance(module, Bottleneck) and not self.config.frozen_norm:  # a frozen zero would stay
                nn.init.zeros_(module.norm3.weight)  # type: ignore[arg-type]
