"""BEVFormer (Li et al., ECCV 2022, https://arxiv.org/abs/2203.17270) on InternImage or a ResNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from internimage.backbones.config import InternImageConfig, ResNetConfig
from internimage.driving.bev.decoding import BoxSelection
from internimage.driving.bev.encoder import BEVEncoderConfig
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import BoxTargets, RawBoxes3D, Views
from internimage.driving.data.frames import NUSCENES_CAMERAS
from internimage.driving.models.bev import Standing, check_bev
from internimage.driving.models.boxes import BoxModel


@dataclass(frozen=True)
class BEVFormerConfig(Standing):
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


class BEVFormer(BoxModel):
    """Frames of several cameras to boxes in space, and what the next frame remembers."""

    def forward(self, views: Views, history: Tensor | None = None) -> tuple[list[RawBoxes3D], Tensor]:
        """The boxes of each frame, best first, and the grid's features.

        Args:
            views: N frames.
            history: (N, cells, C), the features that this gave for the frames before; None for none.

        Raises:
            InputSizeError: another number of cameras than the model's.
        """
        bev = self.encode(views, history)
        return self.found(*self.decoder(bev, last=True)), bev

    def losses(  # type: ignore[override]
        self, queue: Sequence[Views], targets: Sequence[BoxTargets]
    ) -> dict[str, Tensor]:
        """Class and box of each decoder's layer.

        Args:
            queue: see :meth:`encode_queue`.
            targets: what is to be found in the last.
        """
        logits, codes = self.decoder(self.encode_queue(queue))
        return self.learnt(logits, codes, targets)
