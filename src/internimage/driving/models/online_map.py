"""Vectorised maps from a vehicle's cameras: lines of fixed points at once, or boxes first and then vertex by vertex.

Liao et al., MapTR, ICLR 2023, https://arxiv.org/abs/2208.14437; Liu et al., VectorMapNet, ICML 2023,
https://arxiv.org/abs/2206.08920; on InternImage or a ResNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from internimage.backbones.config import InternImageConfig, ResNetConfig
from internimage.driving.bev.encoder import BEVEncoderConfig
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import Views
from internimage.driving.data.frames import NUSCENES_CAMERAS
from internimage.driving.geometry.vector_map import CLASSES, REGION, VectorMap
from internimage.driving.maps.boxes import box_losses, match_boxes
from internimage.driving.maps.canvas import Canvas
from internimage.driving.maps.elements import PointDecoder
from internimage.driving.maps.generator import LineGenerator
from internimage.driving.maps.lines import LineTargets, line_losses, match_lines
from internimage.driving.maps.perspective import PerspectiveMapping
from internimage.driving.maps.settings import GeneratorConfig, LineSelection
from internimage.driving.maps.tokens import LineTokens
from internimage.driving.models.bev import BEVModel, Standing, check_bev
from internimage.errors import ConfigError
from internimage.layers.queries.refinement import focal_classifier

EXTENT = (-REGION[0] / 2, -REGION[1] / 2, -2.0, REGION[0] / 2, REGION[1] / 2, 2.0)
"""(x0, y0, z0, x1, y1, z1) in metres of the vehicle's frame (x forward, y left, z up)."""

_ELEMENTS = {"one_stage": 50, "two_stage": 120}


@dataclass(frozen=True)
class OnlineMapConfig(Standing):
    """Architecture of a network that draws maps.

    Attributes:
        backbone: the backbone's architecture.
        kind: "one_stage", lines of ``line_points`` points each; "two_stage", boxes whose lines are drawn up vertex by
            vertex.
        view_transform: how the grid's features come about: "ipm", looked up in the pictures at fixed ``heights``;
            "bevformer", by attention to them and to the frames before.
        num_classes: of lines.
        out_levels, levels, cameras: see :class:`internimage.driving.models.bevformer.BEVFormerConfig`; any number of
            cameras will do for "ipm".
        channels: width of the pyramid and of the grid's features.
        grid: cells on the ground, in the vehicle's frame.
        heights: of the planes, metres in that frame.
        points, encoder_layers, history: of "bevformer" alone, see
            :class:`internimage.driving.models.bevformer.BEVFormerConfig`.
        head_channels: width of queries and tokens.
        heads: of every attention.
        width: of the two linear layers in each layer.
        decoder_layers: of the elements.
        elements: that are proposed; None for 50 of one stage and 120 of two.
        line_points: of a line of one stage.
        generator: what draws lines of two stages.
        dropout: in training, but for the generator's.
        detections: which lines are reported.
    """

    backbone: InternImageConfig | ResNetConfig
    kind: Literal["one_stage", "two_stage"] = "one_stage"
    view_transform: Literal["ipm", "bevformer"] = "ipm"
    num_classes: int = len(CLASSES)
    out_levels: tuple[int, ...] = (0, 1, 2, 3)
    levels: int = 4
    cameras: tuple[str, ...] = NUSCENES_CAMERAS
    channels: int = 128
    grid: BEVGrid = field(default_factory=lambda: BEVGrid(100, 200, EXTENT))
    heights: tuple[float, ...] = (-1.1, 0.0, 0.5, 1.1)
    points: int = 8
    encoder_layers: int = 1
    history: bool = False
    head_channels: int = 256
    heads: int = 8
    width: int = 512
    decoder_layers: int = 6
    elements: int | None = None
    line_points: int = 20
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    dropout: float = 0.1
    detections: LineSelection = field(default_factory=LineSelection)

    def __post_init__(self) -> None:
        for name, value, known in (
            ("kind", self.kind, tuple(_ELEMENTS)),
            ("view_transform", self.view_transform, ("ipm", "bevformer")),
        ):
            if value not in known:
                raise ConfigError(f"{name} is {value!r}; expected {' or '.join(known)}")
        check_bev(self, "num_classes", "head_channels", "width", "decoder_layers", "queries")
        if self.line_points < 2:
            raise ConfigError(f"line_points is {self.line_points}; expected 2 or more")
        if self.head_channels % self.heads:
            raise ConfigError(f"head_channels is {self.head_channels}; expected a multiple of the {self.heads} heads")
        if self.view_transform == "ipm" and (self.history or not self.heights):
            raise ConfigError("ipm needs heights and remembers nothing: expected one or more, and no history")

    @property
    def remembers(self) -> bool:
        return self.view_transform == "bevformer"

    @property
    def in_vehicle(self) -> bool:
        return True

    @property
    def ahead(self) -> Literal["x", "y"]:
        return "x"

    @property
    def queries(self) -> int:
        """Elements that are proposed."""
        return _ELEMENTS[self.kind] if self.elements is None else self.elements

    @property
    def stride(self) -> int:
        """Of the backbone's coarsest map that is looked at; sides of images are multiples of it."""
        return 4 * 2 ** max(self.out_levels)

    @property
    def encoder(self) -> BEVEncoderConfig:
        """That of the encoder, if it is BEVFormer's."""
        return BEVEncoderConfig(self.grid, self.encoder_layers, self.heads, self.points, self.width, self.dropout)


class OnlineMap(BEVModel):
    """Frames of several cameras to vector maps."""

    class_tensors = ("decoder.classifiers.#.*", "generator.classes.*")

    def __init__(self, config: OnlineMapConfig) -> None:
        super().__init__(config)
        self.canvas = Canvas(config.grid)
        two_stage = config.kind == "two_stage"
        self.decoder = PointDecoder(
            self.canvas,
            config.channels,
            config.head_channels,
            config.heads,
            config.decoder_layers,
            config.width,
            config.queries,
            2 if two_stage else config.line_points,
            config.num_classes,
            config.dropout,
        )
        self.generator = (
            LineGenerator(
                self.canvas,
                config.channels,
                config.head_channels,
                config.heads,
                config.width,
                config.num_classes,
                config.generator,
            )
            if two_stage
            else None
        )

    def build_encoder(self, config: OnlineMapConfig) -> Any:
        if config.view_transform == "ipm":
            return PerspectiveMapping(config.grid, config.heights, config.channels)
        return super().build_encoder(config)

    def shardable(self) -> list[nn.Module]:
        """Blocks of the backbone, layers of encoder, decoder and generator."""
        drawing: list[nn.Module] = [] if self.generator is None else list(self.generator.layers)
        return [*super().shardable(), *self.decoder.layers, *drawing]

    def take_cameras(self, cameras: tuple[str, ...]) -> None:
        if self.config.view_transform == "ipm":  # nothing is known of one camera that is not known of another
            self.config = replace(self.config, cameras=cameras)
        else:
            super().take_cameras(cameras)

    def reset_classifier(self, num_classes: int) -> None:
        width, like = self.config.head_channels, self.decoder.element_embedding.weight
        count = self.config.decoder_layers
        self.decoder.classifiers = nn.ModuleList(focal_classifier(width, num_classes) for _ in range(count)).to(like)
        if self.generator is not None:
            self.generator.classes = nn.Embedding(num_classes, width).to(like)
        self.config = replace(self.config, num_classes=num_classes)

    def forward(self, views: Views, history: Tensor | None = None) -> tuple[list[VectorMap], Tensor]:
        """The map of each frame, surest lines first, and the grid's features.

        Args:
            views: N frames; ``lidar_to_pixels`` from the vehicle's frame.
            history: (N, cells, C), the features that this gave for the frames before; None for none.

        Raises:
            InputSizeError: another number of cameras than the model's.
        """
        bev = self.encode(views, history)
        logits, points = self.decoder(bev, last=True)
        return [self._drawn(*one) for one in zip(bev, logits[0], points[0], strict=True)], bev

    def losses(  # type: ignore[override]
        self, queue: Sequence[Views], truth: Sequence[VectorMap]
    ) -> dict[str, Tensor]:
        """Class and points (or corners) of each decoder's layer, and what the generator learns.

        Args:
            queue: see :meth:`encode_queue`.
            truth: maps of the last frames.

        Raises:
            MissingExtraError: shapely is not installed, which two stages need.
        """
        bev = self.encode_queue(queue)
        logits, points = self.decoder(bev)
        results: dict[str, Tensor] = {}  # clones, because FSDP2 warns of views
        if self.generator is None:
            targets = [LineTargets.of(one, self.canvas, self.config.line_points, bev.device) for one in truth]
            matched = match_lines(logits, points, targets)
            learnt = dict(
                zip(
                    ("class", "points", "direction"),
                    line_losses(logits, points, matched, self.canvas.size),
                    strict=True,
                )
            )
        else:
            tokens = [LineTokens.of(one, self.canvas, self.config.generator.vertices, bev.device) for one in truth]
            matched = match_boxes(logits, points, tokens, self.canvas)
            learnt = dict(zip(("class", "corners"), box_losses(logits, points, matched, self.canvas), strict=True))
            results["lines"] = self.generator.losses(bev, tokens)
        for kind, losses in learnt.items():
            results |= {f"layer{number}_{kind}": loss.clone() for number, loss in enumerate(losses, 1)}
        return results

    @torch.no_grad()
    def _drawn(self, bev: Tensor, logits: Tensor, points: Tensor) -> VectorMap:
        """The lines of a frame from its features (cells, C), logits (E, K) and points (E, P, 2)."""
        selection = self.config.detections
        scores, labels = logits.sigmoid().max(-1)
        order = scores.argsort(descending=True)[: selection.keep]
        order = order[scores[order] > selection.score_threshold]
        scores, labels, points = scores[order], labels[order], points[order]
        if self.generator is None:
            lines = list(self.canvas.metres(points))
        else:
            corners = torch.stack([points.amin(1), points.amax(1)], dim=1)
            boxes = self.canvas.tokens(self.canvas.metres(corners)).flatten(1)
            drawn = self.generator.draw(bev, labels, boxes)
            lines = [self.canvas.metres(self.canvas.token_shares(line)) for line in drawn]
        return VectorMap(
            [line.double().cpu().numpy() for line in lines], labels.cpu().numpy(), scores.double().cpu().numpy()
        )
