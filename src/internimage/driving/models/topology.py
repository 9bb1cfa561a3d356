"""Lanes, traffic elements, and what belongs to what (OpenLane-V2's baseline on InternImage, 2023).

Wang et al., OpenLane-V2, NeurIPS 2023, https://arxiv.org/abs/2304.10440, section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from internimage.backbones.config import InternImageConfig, ResNetConfig
from internimage.driving.bev.encoder import BEVEncoderConfig
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import LaneTargets, RawLanes, Views
from internimage.driving.data.openlane import ATTRIBUTES, CAMERAS
from internimage.driving.lanes.decoder import LaneDecoder
from internimage.driving.lanes.elements import ElementDecoder
from internimage.driving.lanes.losses import element_losses, lane_losses, match_elements, match_lanes
from internimage.driving.lanes.relations import LanePlaces, RelationHead, related, relation_loss
from internimage.driving.models.bev import BEVModel, Standing, check_bev
from internimage.errors import ConfigError
from internimage.layers.queries.refinement import focal_classifier

_PRIOR = 0.01
_OF_PAIRS, _OF_RELATIONS = 5.0, 1.5  # weights of what belongs together, see relation_loss


@dataclass(frozen=True)
class TopologyConfig(Standing):
    """Architecture of a network of lanes and traffic elements.

    Attributes:
        backbone: the backbone's architecture.
        num_classes: what traffic elements may say.
        out_levels, levels, cameras, channels, heads, points, width, encoder_layers, dropout: see
            :class:`internimage.driving.models.bevformer.BEVFormerConfig`.
        front: the camera in whose picture traffic elements are looked for.
        grid: cells on the ground, in the vehicle's frame.
        decoder_layers, queries: of lanes.
        element_encoder_layers, element_decoder_layers, element_queries: of traffic elements.
        placed: whether what belongs together is told where lanes are, and its loss divided by what does belong
            together; the published network knows features alone, and divides by all pairs.
        released: what the released network was trained with and would not be today: values of attention in time go
            through their linear layer twice, the vehicle's place in the city is told in metres, and places in pictures
            are shares of their size without padding.
        history: whether prediction remembers the frames before; the published network does not.
    """

    backbone: InternImageConfig | ResNetConfig
    num_classes: int = len(ATTRIBUTES)
    out_levels: tuple[int, ...] = (0, 1, 2, 3)
    levels: int = 4
    cameras: tuple[str, ...] = CAMERAS
    front: str = CAMERAS[0]
    channels: int = 256
    grid: BEVGrid = field(default_factory=lambda: BEVGrid(100, 200, (-51.2, -25.6, -2.3, 51.2, 25.6, 1.7)))
    heads: int = 8
    points: int = 8
    width: int = 512
    encoder_layers: int = 3
    decoder_layers: int = 6
    queries: int = 100
    element_encoder_layers: int = 6
    element_decoder_layers: int = 6
    element_queries: int = 100
    dropout: float = 0.1
    placed: bool = False
    released: bool = False
    history: bool = False

    def __post_init__(self) -> None:
        check_bev(self, "num_classes", "decoder_layers", "queries", "element_decoder_layers", "element_queries")
        if self.front not in self.cameras:
            raise ConfigError(f"front is {self.front!r}; expected one of the cameras, {', '.join(self.cameras)}")

    @property
    def released_can_bus(self) -> bool:
        """See :func:`internimage.driving.geometry.motion.can_bus_vector`."""
        return self.released

    @property
    def place_in_motion(self) -> bool:
        """Whether the vehicle's place in the city stands where its way since the frame before does elsewhere."""
        return self.released

    @property
    def shares_without_padding(self) -> bool:
        """Whether places in pictures are shares of the first camera's picture without its padding."""
        return self.released

    @property
    def in_vehicle(self) -> bool:
        return True

    @property
    def ahead(self) -> Literal["x", "y"]:
        return "x"

    @property
    def stride(self) -> int:
        """Of the backbone's coarsest map that is looked at; sides of images are multiples of it."""
        return 4 * 2 ** max(self.out_levels)

    @property
    def encoder(self) -> BEVEncoderConfig:
        """That of the encoder."""
        return BEVEncoderConfig(
            self.grid,
            self.encoder_layers,
            self.heads,
            self.points,
            self.width,
            self.dropout,
            values_twice=self.released,
        )


class TopologyNetwork(BEVModel):
    """Frames of several cameras to lanes, traffic elements and what belongs together."""

    code_weights: Tensor

    class_tensors = ("elements.classifiers.#.*",)

    def __init__(self, config: TopologyConfig) -> None:
        super().__init__(config)
        channels, heads, width, dropout = config.channels, config.heads, config.width, config.dropout
        self.lanes = LaneDecoder(config.grid, channels, heads, config.decoder_layers, width, config.queries, dropout)
        self.elements = ElementDecoder(
            channels,
            heads,
            config.levels,
            config.element_encoder_layers,
            config.element_decoder_layers,
            width,
            config.element_queries,
            config.num_classes,
            dropout,
        )
        self.lane_lane = RelationHead(channels)
        self.lane_element = RelationHead(channels, prior=_PRIOR if config.placed else None)
        self.places = LanePlaces(channels) if config.placed else None
        # of the control points' numbers; every released file has it, and it is one throughout
        self.register_buffer("code_weights", torch.ones(15))

    def shardable(self) -> list[nn.Module]:
        """Blocks of the backbone, layers of encoders and decoders."""
        return [*super().shardable(), *self.lanes.layers, *self.elements.encoder, *self.elements.layers]

    def reset_classifier(self, num_classes: int) -> None:
        channels, count, like = self.config.channels, len(self.elements.classifiers), self.encoder.cells.weight
        self.elements.classifiers = nn.ModuleList(focal_classifier(channels, num_classes) for _ in range(count)).to(
            like
        )
        self.config = replace(self.config, num_classes=num_classes)

    def config_for(self, cameras: tuple[str, ...]) -> TopologyConfig:
        """The configuration for other cameras; the first of them is the front one where none is called as it was."""
        front = self.config.front if self.config.front in cameras else cameras[0]
        return replace(self.config, cameras=cameras, front=front)

    def forward(self, views: Views, history: Tensor | None = None) -> tuple[list[RawLanes], Tensor]:
        """What is found in each of N frames, and the grid's features; see :meth:`encode`."""
        bev, (lane_logits, curves, lanes), (logits, boxes, elements) = self._find(views, history)
        follows, governs = self._relations(lanes[-1], curves[-1], elements[-1])
        scores, attributes = logits[-1].sigmoid().max(-1)
        parts = (
            curves[-1],
            lane_logits[-1].sigmoid(),
            boxes[-1],
            scores,
            attributes,
            follows.sigmoid(),
            governs.sigmoid(),
        )
        return [RawLanes(*frame) for frame in zip(*parts, strict=True)], bev

    def losses(  # type: ignore[override]
        self, queue: Sequence[Views], targets: Sequence[LaneTargets]
    ) -> dict[str, Tensor]:
        """Lanes and elements of each decoder's layer, relations of the last.

        Args:
            queue: see :meth:`encode_queue`.
            targets: of each of the last frames.
        """
        history = self.encode_history(queue)
        _, (lane_logits, curves, lanes), (logits, boxes, elements) = self._find(queue[-1], history)
        truth = [one.curves for one in targets]
        matched = match_lanes(lane_logits, curves, truth)
        sizes = queue[-1].sizes[:, self._front]
        learnt = match_elements(logits, boxes, targets, sizes)
        losses: dict[str, Tensor] = {}
        for kind, layers in zip(("class", "curve"), lane_losses(lane_logits, curves, matched, truth), strict=True):
            losses |= {f"lane{number}_{kind}": loss.clone() for number, loss in enumerate(layers, 1)}
        kinds = ("class", "box", "overlap")
        for kind, layers in zip(kinds, element_losses(logits, boxes, learnt, targets, sizes), strict=True):
            losses |= {f"element{number}_{kind}": loss.clone() for number, loss in enumerate(layers, 1)}
        weight = _OF_RELATIONS if self.config.placed else _OF_PAIRS
        both = self._relations(lanes[-1], curves[-1], elements[-1])
        for name, pairs, things in zip(("lane_lane", "lane_element"), both, (matched[-1], learnt[-1]), strict=True):
            wanted = [
                related(getattr(one, name), mine, theirs, like)
                for one, mine, theirs, like in zip(targets, matched[-1], things, pairs, strict=True)
            ]
            losses[name] = weight * relation_loss(pairs, wanted, of_pairs=not self.config.placed)
        return losses

    @property
    def _front(self) -> int:
        front: int = self.config.cameras.index(self.config.front)
        return front

    def _relations(self, lanes: Tensor, curves: Tensor, elements: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, Q, Q) that lanes go on in lanes, and (N, Q, T) that elements govern them."""
        if self.places is None:
            return self.lane_lane(lanes, lanes), self.lane_element(lanes, elements)
        lanes = self.places(lanes, self.config.grid.shares_of(curves))
        follows = self.lane_lane(lanes, lanes) + self.places.follows(curves)
        return follows, self.lane_element(lanes, elements)

    def _find(
        self, views: Views, history: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
        """The grid's features, and what the decoders of lanes and of elements give."""
        maps = self.look(views)
        bev = self.encoder(maps, views, history)
        own = [one.unflatten(0, views.images.shape[:2])[:, self._front] for one in maps]
        sizes = [(int(height), int(width)) for height, width in views.sizes[:, self._front].tolist()]
        return bev, self.lanes(bev), self.elements(own, sizes, views.images.shape[-2:])
