"""BEVFormer (Li et al., ECCV 2022, https://arxiv.org/abs/2203.17270) on InternImage or a ResNet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor, nn

from internimage.backbones.config import InternImageConfig, ResNetConfig
from internimage.driving.bev.code import CODE
from internimage.driving.bev.decoder import BoxDecoder, classifier
from internimage.driving.bev.decoding import BoxSelection, best_boxes
from internimage.driving.bev.encoder import BEVEncoder, BEVEncoderConfig
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import BoxTargets, RawBoxes3D, Views
from internimage.driving.bev.losses import box_losses, match
from internimage.driving.data.frames import NUSCENES_CAMERAS
from internimage.errors import ConfigError, InputSizeError
from internimage.layers.fpn import FPN
from internimage.models.model import Model

_PIXELS = 600_000  # of the images that go through the backbone together where a CPU predicts


@dataclass(frozen=True)
class BEVFormerConfig:
    """Architecture of a BEVFormer.

    Attributes:
        backbone: the backbone's architecture.
        num_classes: classes of objects.
        out_levels: stages of the backbone whose maps the pyramid takes.
        levels: maps of each camera; beyond ``out_levels`` made of the coarsest, each of half its size.
        cameras: channels of the cameras, in the order of their embeddings.
        channels: width of everything after the backbone.
        grid: cells on the ground.
        heads: of every attention; ``channels`` is a multiple of twice as many.
        points: that a head samples on each level of a camera's maps, a multiple of the grid's ``pillars``.
        width: of the two linear layers in each layer of encoder and decoder.
        encoder_layers, decoder_layers: how many.
        queries: boxes that are proposed.
        groups: of so many queries, which learn beside each other, each matched for itself: several learn each object
            (Chen et al., Group DETR, ICCV 2023).  Prediction asks the first group.
        dropout: in training.
        detections: which boxes are reported.
        rotation_centre: (x, y) in cells about which the history is turned; None for the middle of the grid.  The
            released tiny and small models were trained with (100, 100).
        released_can_bus: motion as the released models were told it, see
            :func:`internimage.driving.geometry.motion.can_bus_vector`.
        velocity_weight: of a metre a second in what is learnt, where a metre counts 1.
        history: whether prediction remembers the frames before; networks that learnt without them do not.
    """

    backbone: InternImageConfig | ResNetConfig
    num_classes: int = 10
    out_levels: tuple[int, ...] = (1, 2, 3)
    levels: int = 4
    cameras: tuple[str, ...] = NUSCENES_CAMERAS
    channels: int = 256
    grid: BEVGrid = field(default_factory=BEVGrid)
    heads: int = 8
    points: int = 8
    width: int = 512
    encoder_layers: int = 6
    decoder_layers: int = 6
    queries: int = 900
    groups: int = 1
    dropout: float = 0.1
    detections: BoxSelection = field(default_factory=BoxSelection)
    rotation_centre: tuple[float, float] | None = None
    released_can_bus: bool = False
    velocity_weight: float = 0.2
    history: bool = True

    def __post_init__(self) -> None:
        for name in ("num_classes", "levels", "channels", "heads", "decoder_layers", "queries", "groups"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ConfigError(f"cameras are {self.cameras}; expected names, each once")
        if not self.out_levels or self.levels < len(self.out_levels):
            raise ConfigError(
                f"levels is {self.levels}; expected {max(1, len(self.out_levels))} or more, as out_levels has"
            )
        if self.channels % (2 * self.heads):
            raise ConfigError(f"channels is {self.channels}; expected a multiple of twice the {self.heads} heads")
        _ = self.encoder  # which looks at the rest

    @property
    def stride(self) -> int:
        """Of the backbone's coarsest map that is looked at; sides of images are multiples of it."""
        return 4 * 2 ** max(self.out_levels)

    @property
    def encoder(self) -> BEVEncoderConfig:
        """That of the encoder."""
        return BEVEncoderConfig(
            self.grid, self.encoder_layers, self.heads, self.points, self.width, self.dropout, self.rotation_centre
        )


class BEVFormer(Model):
    """Frames of several cameras to boxes in space, and what the next frame remembers."""

    code_weights: Tensor

    class_tensors = ("decoder.classifiers.#.6.*",)

    def __init__(self, config: BEVFormerConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        code_weights = torch.ones(CODE)
        code_weights[-2:] = config.velocity_weight
        self.register_buffer("code_weights", code_weights)
        self.backbone = self.build_backbone(config, config.out_levels)
        further = config.levels - len(config.out_levels)
        self.neck = FPN(self.backbone.feature_channels, channels, extra=further)
        self.encoder = BEVEncoder(config.encoder, channels, config.levels, len(config.cameras))
        self.decoder = BoxDecoder(
            config.grid,
            channels,
            config.heads,
            config.decoder_layers,
            config.width,
            config.queries,
            config.num_classes,
            config.groups,
            config.dropout,
        )

    def shardable(self) -> list[nn.Module]:
        """Blocks of the backbone, layers of encoder and decoder."""
        return [*super().shardable(), *self.encoder.layers, *self.decoder.layers]

    def reset_classifier(self, num_classes: int) -> None:
        channels, count, like = self.config.channels, len(self.decoder.classifiers), self.decoder.query_embedding.weight
        self.decoder.classifiers = nn.ModuleList(classifier(channels, num_classes) for _ in range(count)).to(like)
        self.config = replace(self.config, num_classes=num_classes)

    def take_cameras(self, cameras: tuple[str, ...]) -> None:
        """See with these cameras from now on; those of the same name keep their embedding, others start anew."""
        if cameras == self.config.cameras:
            return
        before = dict(zip(self.config.cameras, self.encoder.camera_embedding.detach(), strict=True))
        self.config = replace(self.config, cameras=cameras)
        start = torch.randn(len(cameras), self.config.channels).to(self.encoder.camera_embedding)
        rows = [before.get(name, own) for name, own in zip(cameras, start, strict=True)]
        self.encoder.camera_embedding = nn.Parameter(torch.stack(rows))

    def keeping(self, objects: int) -> Self:
        most = self.config.queries * self.config.num_classes
        if not 1 <= objects <= most:
            raise ConfigError(f"{objects} objects a frame; expected 1 to {most}, which this BEVFormer looks at")
        return self._reporting(keep=objects)

    def forward(self, views: Views, history: Tensor | None = None) -> tuple[list[RawBoxes3D], Tensor]:
        """The boxes of each frame, best first, and the grid's features.

        Args:
            views: N frames.
            history: (N, cells, C), the features that this gave for the frames before; None for none.

        Raises:
            InputSizeError: another number of cameras than the model's.
        """
        bev = self.encode(views, history)
        logits, codes = self.decoder(bev, last=True)
        found = [best_boxes(*one, self.config.detections) for one in zip(logits[0], codes[0], strict=True)]
        return found, bev

    def encode(self, views: Views, history: Tensor | None = None) -> Tensor:
        """The grid's features, (N, cells, C); see :meth:`forward`."""
        cameras = views.images.shape[1]
        if cameras != len(self.config.cameras):
            raise InputSizeError(
                f"a frame has {cameras} cameras; expected {len(self.config.cameras)}: {', '.join(self.config.cameras)} "
                "(one that is missing has a picture of zeros, and is not among those present)"
            )
        return self.encoder(self.maps(views.images.flatten(0, 1)), views, history)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Images (N * K, 3, H, W) to maps (N * K, C, H_i, W_i); few at a time where a CPU predicts, to save memory."""
        if self.training or torch.is_grad_enabled() or not images.is_cpu or torch.compiler.is_compiling():
            result: list[Tensor] = self.neck(self.backbone(images))
            return result
        at_once = max(1, _PIXELS // (images.shape[2] * images.shape[3]))
        each = [self.neck(self.backbone(image)) for image in images.split(at_once)]
        return [torch.cat(level) for level in zip(*each, strict=True)]

    def losses(  # type: ignore[override]
        self, queue: Sequence[Views], targets: Sequence[BoxTargets]
    ) -> dict[str, Tensor]:
        """Class and box of each decoder's layer.

        Args:
            queue: N frames at successive moments.  All but the last make the history, as in prediction: in evaluation
                mode and without gradients.  Those that are not ``continued`` forget what was before, and so does the
                first of the queue, whose motion is to be told as that of a drive's first frame.
            targets: what is to be found in the last.
        """
        history = None
        with _predicting(self):
            for views in queue[:-1]:
                history = self.encode(views, history)
        logits, codes = self.decoder(self.encode(queue[-1], history))
        logits, codes = (self._by_group(one) for one in (logits, codes))
        matched = match(logits, codes, targets)
        weights = self.code_weights.clone()  # a file's own say nothing about what is to be learnt now
        weights[-2:] = self.config.velocity_weight
        learnt = box_losses(logits, codes, matched, targets, weights)
        results: dict[str, Tensor] = {}  # clones, because FSDP2 warns of views
        for kind, losses in zip(("class", "box"), learnt, strict=True):
            layers = losses.unflatten(0, (self.config.decoder_layers, -1)).mean(1)
            results |= {f"layer{number}_{kind}": loss.clone() for number, loss in enumerate(layers, 1)}
        return results

    def _by_group(self, outputs: Tensor) -> Tensor:
        """(L, N, groups * Q, ...) to (L * groups, N, Q, ...): each group is matched as a layer of its own."""
        return outputs.unflatten(2, (-1, self.config.queries)).movedim(2, 1).flatten(0, 1)


@contextmanager
def _predicting(model: nn.Module) -> Iterator[None]:
    """No gradients and evaluation mode; afterwards every module is in its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
