"""BEVFormer (Li et al., ECCV 2022, https://arxiv.org/abs/2203.17270) on InternImage or a ResNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from internimage.backbones.config import InternImageConfig, ResNetConfig
from internimage.driving.bev.code import CODE
from internimage.driving.bev.decoder import BoxDecoder, classifier
from internimage.driving.bev.decoding import BoxSelection, best_boxes
from internimage.driving.bev.encoder import BEVEncoderConfig
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import BoxTargets, RawBoxes3D, Views
from internimage.driving.bev.losses import box_losses, match
from internimage.driving.data.frames import NUSCENES_CAMERAS
from internimage.driving.models.bev import BEVModel, check_bev
from internimage.errors import ConfigError


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

    place_in_motion: ClassVar[bool] = False
    shares_without_padding: ClassVar[bool] = False
    in_vehicle: ClassVar[bool] = False
    ahead: ClassVar[Literal["x", "y"]] = "y"

    def __post_init__(self) -> None:
        check_bev(self, "num_classes", "decoder_layers", "queries", "groups")

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


class BEVFormer(BEVModel):
    """Frames of several cameras to boxes in space, and what the next frame remembers."""

    code_weights: Tensor

    class_tensors = ("decoder.classifiers.#.6.*",)

    def __init__(self, config: BEVFormerConfig) -> None:
        super().__init__(config)
        channels = config.channels
        code_weights = torch.ones(CODE)
        code_weights[-2:] = config.velocity_weight
        self.register_buffer("code_weights", code_weights)
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
        return [*super().shardable(), *self.decoder.layers]

    def reset_classifier(self, num_classes: int) -> None:
        channels, count, like = self.config.channels, len(self.decoder.classifiers), self.decoder.query_embedding.weight
        self.decoder.classifiers = nn.ModuleList(classifier(channels, num_classes) for _ in range(count)).to(like)
        self.config = replace(self.config, num_classes=num_classes)

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

    def losses(  # type: ignore[override]
        self, queue: Sequence[Views], targets: Sequence[BoxTargets]
    ) -> dict[str, Tensor]:
        """Class and box of each decoder's layer.

        Args:
            queue: see :meth:`encode_queue`.
            targets: what is to be found in the last.
        """
        logits, codes = self.decoder(self.encode_queue(queue))
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
