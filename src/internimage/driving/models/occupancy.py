"""What fills the space around a vehicle: BEVFormer's encoder and voxels above its cells.

Occ3D's baseline for the CVPR 2023 challenge on InternImage; Li et al., BEVFormer, ECCV 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor

from internimage.backbones.config import InternImageConfig, ResNetConfig
from internimage.driving.bev.encoder import BEVEncoderConfig
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import Views, VoxelTargets
from internimage.driving.data.frames import NUSCENES_CAMERAS
from internimage.driving.data.occ3d import VoxelGrid
from internimage.driving.models.bev import BEVModel, Standing, check_bev
from internimage.driving.voxels.decoder import VoxelDecoder
from internimage.driving.voxels.losses import VoxelMemory, drawn, voxel_losses
from internimage.driving.voxels.plane import PlaneDecoder
from internimage.driving.voxels.settings import VoxelLosses
from internimage.errors import ConfigError

EXTENT = (-40.0, -40.0, -1.0, 40.0, 40.0, 5.4)
"""Of Occ3D on nuScenes: (x0, y0, z0, x1, y1, z1) in metres of the vehicle's frame (x forward, y left, z up)."""


@dataclass(frozen=True)
class OccupancyConfig(Standing):
    """Architecture of a network that fills space.

    Attributes:
        backbone: the backbone's architecture.
        num_classes: of voxels; the last is free space.
        out_levels, levels, cameras, channels, heads, points, width, encoder_layers, dropout, released_can_bus: see
            :class:`internimage.driving.models.bevformer.BEVFormerConfig`.
        grid: cells on the ground, in the vehicle's frame.
        heights: voxels above a cell; with "volume" they divide the channels.
        decoder: "volume", as released, has convolutions in space; "plane" has them on the ground alone.
        finer: voxels along each side of a cell; 1 with "volume".
        voxel_channels: width of what stands on the encoder.
        released_shift: what the released model was trained with: attention in time takes the present for as far away as
            the past, and both for ahead along y, where this grid's x is ahead.
        learning: what its voxels teach.
        history: whether prediction remembers the frames before.
    """

    backbone: InternImageConfig | ResNetConfig
    num_classes: int = 18
    out_levels: tuple[int, ...] = (1, 2, 3)
    levels: int = 4
    cameras: tuple[str, ...] = NUSCENES_CAMERAS
    channels: int = 256
    grid: BEVGrid = field(default_factory=lambda: BEVGrid(extent=EXTENT, pillars=8))
    heads: int = 8
    points: int = 8
    width: int = 512
    encoder_layers: int = 4
    heights: int = 16
    decoder: Literal["volume", "plane"] = "volume"
    finer: int = 1
    voxel_channels: int = 32
    dropout: float = 0.1
    released_can_bus: bool = False
    released_shift: bool = False
    learning: VoxelLosses = field(default_factory=VoxelLosses)
    history: bool = True

    def __post_init__(self) -> None:
        check_bev(self, "num_classes", "heights", "finer", "voxel_channels")
        if self.decoder not in ("volume", "plane"):
            raise ConfigError(f"decoder is {self.decoder!r}; expected volume or plane")
        if self.decoder == "volume" and self.channels % self.heights:
            raise ConfigError(f"channels is {self.channels}; expected a multiple of the {self.heights} heights")
        if self.decoder == "volume" and self.finer != 1:
            raise ConfigError(f"finer is {self.finer}; expected 1 with the decoder volume, or the decoder plane")

    @property
    def in_vehicle(self) -> bool:
        return True

    @property
    def stride(self) -> int:
        """Of the backbone's coarsest map that is looked at; sides of images are multiples of it."""
        return 4 * 2 ** max(self.out_levels)

    @property
    def voxels(self) -> VoxelGrid:
        """Where the voxels are.

        Raises:
            ConfigError: they are no cubes.
        """
        grid, finer = self.grid, self.finer
        shape = (grid.width * finer, grid.height * finer, self.heights)
        sides = [round(length / count, 6) for length, count in zip(grid.sides, shape, strict=True)]
        if len(set(sides)) > 1:
            raise ConfigError(f"voxels have sides of {sides} m; expected cubes")
        return VoxelGrid(shape, grid.extent[:3], sides[0])

    @property
    def ahead(self) -> Literal["x", "y"]:
        """The grid's axis along which the vehicle is taken to drive."""
        return "y" if self.released_shift else "x"

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
            both_shifted=self.released_shift,
        )


class OccupancyNetwork(BEVModel):
    """Frames of several cameras to classes of voxels, and what the next frame remembers."""

    class_tensors = ("decoder.classifier.2.*", "memory.totals")

    def __init__(self, config: OccupancyConfig) -> None:
        super().__init__(config)
        self._remember()
        sizes = (config.grid, config.channels, config.heights, config.voxel_channels, config.num_classes)
        self.decoder = VoxelDecoder(*sizes) if config.decoder == "volume" else PlaneDecoder(*sizes, config.finer)

    def reset_classifier(self, num_classes: int) -> None:
        self.decoder.reset_classifier(num_classes)
        self.config = replace(self.config, num_classes=num_classes)
        self._remember()

    def _remember(self) -> None:
        """An empty memory of what is found, where learning has one."""
        batches = self.config.learning.memory
        memory = VoxelMemory(self.config.num_classes, batches) if batches else None
        self.memory = None if memory is None else memory.to(next(self.backbone.parameters()).device)

    def forward(self, views: Views, history: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (N, X, Y, Z, classes), and the grid's features; see :meth:`encode`."""
        bev = self.encode(views, history)
        return self.decoder(bev), bev

    def losses(  # type: ignore[override]
        self, queue: Sequence[Views], targets: Sequence[VoxelTargets], shares: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What is learnt from the last frames of a queue.

        Args:
            queue: see :meth:`encode_queue`.
            targets: of each of the last frames.
            shares: see :func:`internimage.driving.voxels.losses.voxel_losses`.
        """
        truth, learning = VoxelTargets.stacked(targets), self.config.learning
        voxels, standing = drawn(truth, learning, self.config.num_classes)
        logits, labels = self.decoder.chosen(self.encode_queue(queue), voxels, truth.labels)
        return voxel_losses(logits, labels, learning, standing, shares, self.memory)
