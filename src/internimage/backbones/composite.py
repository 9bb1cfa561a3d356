"""Composite backbone: several equal networks, each fed with the maps of the one before.

Liang et al., "CBNet: A Composite Backbone Network Architecture for Object Detection", IEEE TIP 2022,
https://arxiv.org/abs/2107.00420: dense higher-level composition, section 3.2; assistant supervision, section 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.backbones.config import BackboneConfig, InternImageConfig, ResNetConfig
from internimage.backbones.internimage import InternImage
from internimage.backbones.resnet import ResNet
from internimage.description import ModelDescription
from internimage.errors import ConfigError


@dataclass(frozen=True)
class CompositeConfig:
    """How networks are put together.

    Attributes:
        branches: networks, two or more.
        half_precision_scale: round what scales the feeds to float16, whatever the weights' dtype, as the released code
            does; results differ by 1e-3.
    """

    branches: int = 2
    half_precision_scale: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.branches, int) or self.branches < 2:
            raise ConfigError(f"branches is {self.branches!r}; expected an integer, 2 or more")


class CompositeBackbone(nn.Module):
    """An image (N, C, H, W) to a list of maps, as :class:`InternImage`: those of the last branch.

    The first branch sees the image.  Each other one starts from the first one's stem; to the input of stage i it adds
    the sum of the maps of stages i, i + 1, ... of the branch before, made as wide by 1x1 convolutions and as large by
    repetition, times a learned scale for each channel.  The scales start at zero, where the network is the plain one.
    All pairs of branches share the convolutions.

    Args:
        backbone: the architecture of a branch.
        composite: how many there are.
        out_indices: stages whose maps ``forward`` returns.
    """

    description: ModelDescription | None = None

    def __init__(
        self, backbone: InternImageConfig, composite: CompositeConfig, out_indices: Sequence[int] = (0, 1, 2, 3)
    ) -> None:
        super().__init__()
        self.config = backbone
        self.composite = composite
        widths = backbone.stage_channels
        # each branch feeds the next one with the maps of all its stages
        indices = [range(len(widths))] * (composite.branches - 1) + [out_indices]
        self.branches = nn.ModuleList(
            InternImage(backbone, own, with_stem=number == 0) for number, own in enumerate(indices)
        )
        for branch in self._branches()[1:]:
            for stage, width in enumerate(widths):
                branch.register_parameter(_scale_name(stage), nn.Parameter(torch.zeros(width)))
        self.links = nn.ModuleList(
            nn.ModuleList([nn.Identity(), *(nn.Conv2d(coarser, width, 1) for coarser in widths[stage + 1 :])])
            for stage, width in enumerate(widths)
        )
        self.to(memory_format=torch.channels_last)

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of the maps that ``forward`` returns."""
        return self._branches()[-1].feature_channels

    @property
    def feature_strides(self) -> tuple[int, ...]:
        """Strides of the maps that ``forward`` returns."""
        return self._branches()[-1].feature_strides

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.forward_branches(images)[-1]

    def forward_branches(self, images: Tensor) -> list[list[Tensor]]:
        """The maps of every branch, for losses on all of them."""
        first, *others = self._branches()
        assert first.stem is not None
        start = first.stem(images)
        results, maps = [], first.from_stem(start)
        for branch in others:
            results.append([maps[index] for index in others[-1].out_indices])
            maps = branch.from_stem(start, self._feeds(branch, maps))
        return [*results, maps]

    def _feeds(self, branch: InternImage, maps: Sequence[Tensor]) -> list[Tensor]:
        """What is added before each of its stages, channels last."""
        feeds = []
        for stage, (links, own) in enumerate(zip(self._links(), maps, strict=True)):
            parts = [link(one) for link, one in zip(links, maps[stage:], strict=True)]
            total = sum((F.interpolate(part, size=own.shape[2:], mode="nearest") for part in parts[1:]), own)
            scale: Tensor = branch.get_parameter(_scale_name(stage))
            if self.composite.half_precision_scale:
                scale = scale.half().to(scale.dtype)
            feeds.append(total.permute(0, 2, 3, 1) * scale)
        return feeds

    def load_branches(self, state: Mapping[str, Tensor]) -> None:
        """Start every branch from the weights of one plain network; layer scales may be missing there."""
        for branch in self._branches():
            branch.load_state_dict({name: state[name] for name in branch.state_dict() if name in state}, strict=False)

    def backbones(self) -> dict[str, InternImage]:
        """The branches; see :meth:`internimage.models.model.Model.backbones`."""
        return {f"branches.{number}.": branch for number, branch in enumerate(self._branches())}

    def take_channels(self, channels: int) -> None:
        """See :meth:`InternImage.take_channels`; the first branch alone has a stem."""
        self.config = replace(self.config, in_channels=channels)
        for branch in self._branches():
            branch.take_channels(channels)

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        """As :meth:`InternImage.layer_prefixes`, all branches side by side."""
        parts = [
            [tuple(f"{prefix}{name}" for name in layer) for layer in branch.layer_prefixes()]
            for prefix, branch in self.backbones().items()
        ]
        return [tuple(name for one in layer for name in one) for layer in zip(*parts, strict=True)]

    def shardable(self) -> list[nn.Module]:
        """The blocks of all branches."""
        return [block for branch in self._branches() for block in branch.shardable()]

    def set_drop_path_rate(self, rate: float) -> None:
        """See :meth:`InternImage.set_drop_path_rate`; all branches alike."""
        for branch in self._branches():
            branch.set_drop_path_rate(rate)

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        """See :meth:`InternImage.set_gradient_checkpointing`."""
        for branch in self._branches():
            branch.set_gradient_checkpointing(enabled)

    def freeze(self, stages: int) -> None:
        """See :meth:`InternImage.freeze`; what connects the branches is always trained."""
        for branch in self._branches():
            branch.freeze(stages)

    def _links(self) -> list[nn.ModuleList]:
        return [links for links in self.links if isinstance(links, nn.ModuleList)]

    def _branches(self) -> list[InternImage]:
        """The branches under their own type."""
        return [branch for branch in self.branches if isinstance(branch, InternImage)]


def _scale_name(stage: int) -> str:
    """A parameter of the branch, before its stages, where released files have it."""
    return f"feed_scale{stage}"


Backbone: TypeAlias = InternImage | ResNet | CompositeBackbone


def build_backbone(
    config: BackboneConfig,
    composite: CompositeConfig | None = None,
    out_indices: Sequence[int] = (0, 1, 2, 3),
) -> Backbone:
    """One network of the configuration's kind, or several put together.

    Raises:
        ConfigError: several ResNets, or no configuration of a backbone.
    """
    if isinstance(config, ResNetConfig):
        if composite is not None:
            raise ConfigError("ResNets cannot be put together; leave composite out, or take an InternImage")
        return ResNet(config, out_indices)
    return InternImage(config, out_indices) if composite is None else CompositeBackbone(config, composite, out_indices)
