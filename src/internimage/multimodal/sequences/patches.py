"""Pictures cut into squares: the picture side of the released Uni-Perceivers, where others have a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from internimage.backbones.parts import check_images, inflated
from internimage.description import ModelDescription
from internimage.errors import ConfigError, InputSizeError


@dataclass(frozen=True)
class PatchConfig:
    """Squares of a picture instead of a backbone's map.

    Attributes:
        patch: side of a square in pixels.
        image: side of the pictures whose positions a model keeps as a table; those of others are computed.
        in_channels: of the images.
    """

    patch: int = 16
    image: int = 224
    in_channels: int = 3

    def __post_init__(self) -> None:
        if self.patch < 1 or self.in_channels < 1 or self.image < self.patch or self.image % self.patch:
            raise ConfigError(
                f"patch is {self.patch}, image {self.image}, in_channels {self.in_channels}; expected 1 or more, and "
                "an image that is a multiple of the patch"
            )

    def shares_weights_with(self, other: Any) -> bool:
        """Whether weights of one are weights of the other: equal but for the size and channels of images."""
        return bool(other.family == self.family and other.patch == self.patch)

    def with_operator(self, operator: str) -> PatchConfig:
        """Raise :class:`ConfigError`: nothing is sampled here."""
        raise ConfigError(f"patches are not sampled with the operator {operator}; leave operator out")

    @property
    def family(self) -> str:
        """What people call such networks."""
        return "patches"

    @property
    def depths(self) -> tuple[int, ...]:
        """There are no stages."""
        return ()


class Patches(nn.Module):
    """Images (N, C, H, W) to a list of one map (N, ``channels``, H / patch, W / patch); a backbone without blocks."""

    description: ModelDescription | None = None

    def __init__(self, config: PatchConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.projection = nn.Conv2d(config.in_channels, channels, config.patch, stride=config.patch)

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of the map."""
        return (self.projection.out_channels,)

    @property
    def feature_strides(self) -> tuple[int, ...]:
        """Stride of the map."""
        return (self.config.patch,)

    def forward(self, images: Tensor) -> list[Tensor]:
        """See the class.

        Raises:
            InputSizeError: a side is not a multiple of the patch.
        """
        check_images(images, self.config.in_channels)
        patch, (height, width) = self.config.patch, images.shape[2:]
        if height % patch or width % patch or not height or not width:
            raise InputSizeError(f"images are {height}x{width}; expected multiples of the patch, {patch}")
        return [self.projection(images)]

    def backbones(self) -> Mapping[str, Any]:
        """None whose blocks could be counted."""
        return {}

    def take_channels(self, channels: int) -> None:
        """See :meth:`internimage.backbones.internimage.InternImage.take_channels`."""
        self.projection = inflated(self.projection, channels)
        self.config = replace(self.config, in_channels=channels)

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        """One layer."""
        return [("projection.",)]

    def shardable(self) -> list[nn.Module]:
        """Nothing is worth it."""
        return []

    def set_drop_path_rate(self, rate: float) -> None:
        """Nothing can be dropped."""

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        """Nothing is kept."""

    def freeze(self, stages: int) -> None:
        """Raise :class:`ConfigError` for any stage: there are none."""
        if stages:
            raise ConfigError(f"cannot freeze {stages} stages; patches have none")
