"""What networks that look from above have in common: cameras, a pyramid, and the encoder of a grid on the ground."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from internimage.backbones.config import InternImageConfig, ResNetConfig
from internimage.driving.bev.encoder import BEVEncoder, BEVEncoderConfig
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import Views
from internimage.errors import ConfigError, InputSizeError
from internimage.layers.fpn import FPN
from internimage.models.model import Model

_PIXELS = 600_000  # of the images that go through the backbone together where a CPU predicts


class BEVConfig(Protocol):
    """What the architecture of such a network says at least; see
    :class:`internimage.driving.models.bevformer.BEVFormerConfig`."""

    @property
    def backbone(self) -> InternImageConfig | ResNetConfig: ...
    @property
    def out_levels(self) -> tuple[int, ...]: ...
    @property
    def levels(self) -> int: ...
    @property
    def cameras(self) -> tuple[str, ...]: ...
    @property
    def channels(self) -> int: ...
    @property
    def grid(self) -> BEVGrid: ...
    @property
    def heads(self) -> int: ...
    @property
    def encoder(self) -> BEVEncoderConfig: ...


class Standing:
    """How a network stands in the world, for those that make its inputs: as BEVFormer does, unless it says so."""

    @property
    def in_vehicle(self) -> bool:
        """Whether the grid stands in the vehicle's frame; otherwise in the lidar's."""
        return False

    @property
    def ahead(self) -> Literal["x", "y"]:
        """The grid's axis along which the vehicle is taken to drive."""
        return "y"

    @property
    def released_can_bus(self) -> bool:
        """See :func:`internimage.driving.geometry.motion.can_bus_vector`."""
        return False

    @property
    def remembers(self) -> bool:
        """Whether a network can go on with what it saw before."""
        return True

    @property
    def moments(self) -> tuple[int, ...]:
        """Frames that are seen together, counted from the one that is predicted."""
        return (0,)

    @property
    def place_in_motion(self) -> bool:
        """Whether the vehicle's place in the city stands where its way since the frame before does elsewhere."""
        return False

    @property
    def shares_without_padding(self) -> bool:
        """Whether places in pictures are shares of the first camera's picture without its padding."""
        return False


def check_bev(config: BEVConfig, *counts: str) -> None:
    """Look at what all such architectures say, and at further ``counts``.

    Raises:
        ConfigError: a number is less than 1 or does not fit another.
    """
    for name in ("levels", "channels", "heads", *counts):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} is {getattr(config, name)}; expected 1 or more")
    if not config.cameras or len(set(config.cameras)) != len(config.cameras):
        raise ConfigError(f"cameras are {config.cameras}; expected names, each once")
    if not config.out_levels or config.levels < len(config.out_levels):
        raise ConfigError(
            f"levels is {config.levels}; expected {max(1, len(config.out_levels))} or more, as out_levels has"
        )
    if config.channels % (2 * config.heads):
        raise ConfigError(f"channels is {config.channels}; expected a multiple of twice the {config.heads} heads")
    _ = config.encoder  # which looks at the rest


class BEVModel(Model):
    """Backbone, pyramid and encoder; what stands on them is added by those that derive from this.

    Args:
        config: architecture.
        maps: of each camera that the pyramid makes; None for as many as the encoder looks at, the finest ones.
    """

    def __init__(self, config: Any, maps: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.backbone = self.build_backbone(config, config.out_levels)
        further = (maps or config.levels) - len(config.out_levels)
        self.neck = FPN(self.backbone.feature_channels, config.channels, extra=further)
        self.encoder = self.build_encoder(config)

    def build_encoder(self, config: Any) -> Any:
        """The module that makes features (N, cells, C) of the grid from maps, views and history."""
        return BEVEncoder(config.encoder, config.channels, config.levels, len(config.cameras))

    def shardable(self) -> list[nn.Module]:
        """Blocks of the backbone, layers of the encoder."""
        return [*super().shardable(), *self.encoder.layers]

    def take_cameras(self, cameras: tuple[str, ...]) -> None:
        """See with these cameras from now on; those of the same name keep their embedding, others start anew."""
        if cameras == self.config.cameras:
            return
        before = dict(zip(self.config.cameras, self.encoder.camera_embedding.detach(), strict=True))
        self.config = self.config_for(cameras)
        start = torch.randn(len(cameras), self.config.channels).to(self.encoder.camera_embedding)
        rows = [before.get(name, own) for name, own in zip(cameras, start, strict=True)]
        self.encoder.camera_embedding = nn.Parameter(torch.stack(rows))

    def config_for(self, cameras: tuple[str, ...]) -> Any:
        """The configuration for other cameras."""
        return replace(self.config, cameras=cameras)

    def encode(self, views: Views, history: Tensor | None = None) -> Tensor:
        """The grid's features.

        Args:
            views: N frames.
            history: (N, cells, C), the features that this gave for the frames before; None for none.

        Returns:
            (N, cells, C).

        Raises:
            InputSizeError: another number of cameras than the model's.
        """
        return self.encoder(self.look(views)[: self.config.levels], views, history)

    def look(self, views: Views) -> list[Tensor]:
        """Maps (N * K, C, H_i, W_i) of all pictures; raises as :meth:`encode` does."""
        self.check_cameras(views)
        return self.maps(views.images.flatten(0, 1))

    def check_cameras(self, views: Views) -> None:
        """Raise :class:`InputSizeError` if there is another number of cameras than the model's."""
        cameras = views.images.shape[1]
        if cameras != len(self.config.cameras):
            raise InputSizeError(
                f"a frame has {cameras} cameras; expected {len(self.config.cameras)}: {', '.join(self.config.cameras)} "
                "(one that is missing has a picture of zeros, and is not among those present)"
            )

    def maps(self, images: Tensor) -> list[Tensor]:
        """Images (N * K, 3, H, W) to maps (N * K, C, H_i, W_i); few at a time where a CPU predicts, to save memory."""
        if self.training or torch.is_grad_enabled() or not images.is_cpu or torch.compiler.is_compiling():
            result: list[Tensor] = self.neck(self.backbone(images))
            return result
        at_once = max(1, _PIXELS // (images.shape[2] * images.shape[3]))
        each = [self.neck(self.backbone(image)) for image in images.split(at_once)]
        return [torch.cat(level) for level in zip(*each, strict=True)]

    def encode_queue(self, queue: Sequence[Views]) -> Tensor:
        """The features of the last of N frames at successive moments.

        Those before it make the history, as in prediction: in evaluation mode and without gradients.  Those that are
        not ``continued`` forget what was before, and so does the first of the queue, whose motion is to be told as that
        of a drive's first frame.
        """
        return self.encode(queue[-1], self.encode_history(queue))

    def encode_history(self, queue: Sequence[Views]) -> Tensor | None:
        """The features of the frame before the last of a queue; see :meth:`encode_queue`."""
        history = None
        with predicting(self):
            for views in queue[:-1]:
                history = self.encode(views, history)
        return history


@contextmanager
def predicting(model: nn.Module) -> Iterator[None]:
    """No gradients and evaluation mode; afterwards every module is in its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
