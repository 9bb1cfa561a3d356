"""BEVFormer v2 (Yang et al., CVPR 2023, https://arxiv.org/abs/2211.10439) on InternImage or a ResNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from internimage.backbones.config import InternImageConfig, ResNetConfig
from internimage.driving.augmentation.features import mirrored, turned_ground
from internimage.driving.bev.decoder import Proposals
from internimage.driving.bev.decoding import BoxSelection
from internimage.driving.bev.encoder import BEVEncoderConfig
from internimage.driving.bev.fusion import Fusion, filled
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import BoxTargets, Cameras, RawBoxes3D, Variations, Views
from internimage.driving.bev.losses import CodeDistance
from internimage.driving.data.frames import NUSCENES_CAMERAS, NUSCENES_CLASSES
from internimage.driving.models.bev import Standing, check_bev, predicting
from internimage.driving.models.boxes import BoxModel
from internimage.driving.perspective.detection import proposals, view_boxes
from internimage.driving.perspective.head import PerspectiveHead, PerspectiveMaps
from internimage.driving.perspective.losses import perspective_losses
from internimage.driving.perspective.settings import PerspectiveConfig
from internimage.driving.perspective.targets import CameraTargets
from internimage.errors import ConfigError, InputSizeError

RELEASED_CLASSES = tuple(sorted(NUSCENES_CLASSES))
"""In the order of the released networks' outputs, and of the head's first sizes."""


@dataclass(frozen=True)
class BEVFormerV2Config(Standing):
    """Architecture of a BEVFormer v2.

    Attributes:
        backbone, num_classes, out_levels, cameras, channels, grid, heads, points, width, encoder_layers,
            decoder_layers, queries, dropout, detections, velocity_weight: see
            :class:`internimage.driving.models.bevformer.BEVFormerConfig`.
        levels: maps of each camera that the encoder looks at, the finest of those that ``perspective`` has strides of.
        groups: likewise; the released networks but the first learnt with eleven.
        above: share of each picture's height that is cut off at its top, where the sky is.
        frames: moments that are seen together, by their place in the list of frames counted from the one that is
            predicted, 0: earlier ones below, later ones above it.
        fusion_width: channels while their features are made one; None for those of all moments together.
        proposals: further queries that begin where boxes of single pictures stand, the best first; 0 for none, as
            released.
        perspective: the head that finds these.
        perspective_weight: of all its losses.
        box_distance: of boxes, in matching and learning.
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
    groups: int = 11
    dropout: float = 0.1
    above: float = 0.0
    frames: tuple[int, ...] = (0,)
    fusion_width: int | None = None
    proposals: int = 0
    perspective: PerspectiveConfig = field(default_factory=PerspectiveConfig)
    perspective_weight: float = 1.0
    box_distance: CodeDistance = field(default_factory=lambda: CodeDistance(0.75, smooth=True))
    detections: BoxSelection = field(default_factory=BoxSelection)
    velocity_weight: float = 0.2

    def __post_init__(self) -> None:
        check_bev(self, "num_classes", "decoder_layers", "queries", "groups")
        if not 0 <= self.above < 1:
            raise ConfigError(f"above is {self.above}; expected a share from 0 to less than 1")
        if 0 not in self.frames or list(self.frames) != sorted(set(self.frames)):
            raise ConfigError(f"frames are {self.frames}; expected ascending numbers with 0, such as (-1, 0)")
        if self.proposals < 0 or (self.fusion_width is not None and self.fusion_width < 1):
            raise ConfigError(
                f"proposals is {self.proposals}, fusion_width {self.fusion_width}; expected 0 or more, and 1 or more "
                "or None"
            )
        last = max(self.out_levels)
        every = (*self.out_levels, *range(last + 1, last + 1 + len(self.perspective.strides)))
        strides = tuple(4 * 2**level for level in every[: max(len(self.perspective.strides), len(self.out_levels))])
        if self.perspective.strides != strides or self.levels > len(strides):
            raise ConfigError(
                f"perspective has strides {self.perspective.strides}, and levels is {self.levels}; expected {strides}, "
                f"as out_levels {self.out_levels} begin, and no more levels than these"
            )

    @property
    def head(self) -> PerspectiveConfig:
        """``perspective`` with a size for each class: where it has others than ``num_classes``, their mean."""
        sizes = self.perspective.sizes
        if len(sizes) == self.num_classes:
            return self.perspective
        mean = tuple(sum(side) / len(sizes) for side in zip(*sizes, strict=True))
        return replace(self.perspective, sizes=(mean,) * self.num_classes)

    @property
    def remembers(self) -> bool:
        return False

    @property
    def moments(self) -> tuple[int, ...]:
        return self.frames

    @property
    def stride(self) -> int:
        """Of the backbone's coarsest map that is looked at; sides of images are multiples of it."""
        return 4 * 2 ** max(self.out_levels)

    @property
    def encoder(self) -> BEVEncoderConfig:
        """That of the encoder: each moment for itself, without being told how the vehicle moved."""
        return BEVEncoderConfig(
            self.grid, self.encoder_layers, self.heads, self.points, self.width, self.dropout, motion=False
        )


class BEVFormerV2(BoxModel):
    """Frames of several cameras at several moments to boxes in space."""

    class_tensors: ClassVar[tuple[str, ...]] = (
        "decoder.classifiers.#.6.*",
        *(f"perspective.{name}.*" for name in ("logits", "quaternions", "centres", "depths", "sizes", "confidences")),
    )

    interleaved: ClassVar[tuple[str, ...]] = tuple(
        f"perspective.{name}.*" for name in ("quaternions", "centres", "sizes")
    )

    def __init__(self, config: BEVFormerV2Config) -> None:
        super().__init__(config, len(config.perspective.strides), config.proposals)
        self.perspective = PerspectiveHead(config.head, config.channels, config.num_classes)
        if len(config.frames) > 1:
            self.fusion = Fusion(config.grid, config.channels, len(config.frames), config.fusion_width)

    def reset_classifier(self, num_classes: int) -> None:
        """Start anew what depends on the classes; their sizes start as the mean of those before, see
        :meth:`take_sizes`."""
        config = replace(self.config, num_classes=num_classes)
        self.config = replace(config, perspective=config.head)
        super().reset_classifier(num_classes)
        self.perspective.reset_classifier(num_classes)

    def take_sizes(self, sizes: Sequence[tuple[float, float, float]]) -> None:
        """Scale these from now on: width, length and height in metres that each class usually has.

        Raises:
            ConfigError: another number of them than of classes, or one that is not above 0.
        """
        if len(sizes) != self.config.num_classes:
            raise ConfigError(f"sizes of {len(sizes)} classes; expected {self.config.num_classes}, one of each")
        perspective = replace(self.config.perspective, sizes=tuple(sizes))
        self.config = replace(self.config, perspective=perspective)

    def forward(self, queue: Sequence[Views], cameras: Cameras | None = None) -> list[RawBoxes3D]:
        """The boxes of each frame, best first.

        Args:
            queue: N frames at each moment of ``frames``, in order, with lidar points of the present one to the pixels
                of each (:func:`internimage.driving.geometry.motion.moved_between`).  A frame without a present camera
                is missing: its neighbour nearer to the present stands in for it.
            cameras: of the present moment; needed for ``proposals`` alone.

        Raises:
            InputSizeError: another number of moments or cameras than the model's, or no ``cameras`` for proposals.
        """
        now = self.check_queue(queue)
        maps = self.shown_maps(queue[now], None)
        proposed = None
        if self.config.proposals:
            if cameras is None:
                raise InputSizeError("no cameras; expected intrinsics and places of all, by which proposals are found")
            there = queue[now].present.flatten()
            proposed = self.proposed(self.perspective(_of(maps, there)), cameras, queue[now].present)
        return self.found(*self.decoder(self.encode_moments(queue, maps), proposed, last=True))

    def losses(  # type: ignore[override]
        self,
        queue: Sequence[Views],
        targets: Sequence[BoxTargets],
        cameras: Cameras,
        pictures: Sequence[CameraTargets],
        shown: Variations | None = None,
    ) -> dict[str, Tensor]:
        """Class and box of each decoder's layer, and what single pictures teach, "perspective_..."; see
        :func:`internimage.driving.perspective.losses.perspective_losses`.

        Args:
            queue, cameras: see :meth:`forward`; pictures and calibrations as if they were not mirrored.
            targets: what is to be found in the present frames, on the ground as ``shown`` turns it.
            pictures: what is to be found in each of their N * cameras pictures, with calibrations as ``cameras``.
            shown: how the frames are shown; None for as they are.

        Raises:
            InputSizeError: another number of moments, cameras or pictures than the model's.
        """
        now = self.check_queue(queue)
        present = queue[now].present
        if len(pictures) != present.numel():
            raise InputSizeError(f"targets of {len(pictures)} pictures; expected {present.numel()}, one a camera")
        maps = self.shown_maps(queue[now], shown)
        said = self.perspective(_of(maps, present.flatten()))
        own = [picture for picture, there in zip(pictures, present.flatten().tolist(), strict=True) if there]
        alone = perspective_losses(said, own, self.config.head)
        proposed = self.proposed(said, cameras, present, shown) if self.config.proposals else None
        logits, codes = self.decoder(self.encode_moments(queue, maps, shown), proposed)
        results = self.learnt(logits, codes, targets, self.config.box_distance)
        weight = self.config.perspective_weight
        return results | {f"perspective_{name}": weight * loss for name, loss in alone.items()}

    def check_queue(self, queue: Sequence[Views]) -> int:
        """The place of the present among the moments.

        Raises:
            InputSizeError: another number of moments or cameras than the model's.
        """
        frames: tuple[int, ...] = self.config.frames
        if len(queue) != len(frames):
            raise InputSizeError(f"{len(queue)} moments; expected {len(frames)}, those at {frames}")
        for views in queue:
            self.check_cameras(views)
        return frames.index(0)

    def shown_maps(self, views: Views, shown: Variations | None) -> list[Tensor]:
        """Maps (N * cameras, C, H_i, W_i) of frames; of mirrored pictures, mirrored back."""
        images = views.images.flatten(0, 1)
        if shown is None:
            return self.maps(images)
        which = shown.mirrored.repeat_interleave(views.images.shape[1])
        return [mirrored(one, which) for one in self.maps(mirrored(images, which))]

    def encode_moments(self, queue: Sequence[Views], maps: Sequence[Tensor], shown: Variations | None = None) -> Tensor:
        """Features of the ground (N, cells, C), of all moments together.

        Those beside the present are seen in evaluation mode and without gradients.

        Args:
            queue, shown: see :meth:`losses`.
            maps: of the present frames, see :meth:`shown_maps`.
        """
        now, there = self.config.frames.index(0), [views.present.any(1) for views in queue]
        own = self._ground(maps, queue[now], shown)
        if len(queue) == 1:
            return own
        moments: list[Tensor | None] = []
        with predicting(self):
            for place, views in enumerate(queue):
                unseen = place == now or not bool(there[place].any())
                moments.append(None if unseen else self._ground(self.shown_maps(views, shown), views, shown))
        moments[now] = own
        result: Tensor = self.fusion(filled(moments, there, now))
        return result

    def _ground(self, maps: Sequence[Tensor], views: Views, shown: Variations | None) -> Tensor:
        cells: Tensor = self.encoder(maps[: self.config.levels], views)
        return cells if shown is None else turned_ground(cells, shown.ground, self.config.grid)

    @torch.no_grad()
    def proposed(
        self, said: Sequence[PerspectiveMaps], cameras: Cameras, present: Tensor, shown: Variations | None = None
    ) -> Proposals:
        """The places where boxes of single pictures stand, those of each frame by their scores, as many as there are.

        Args:
            said: of the pictures of all cameras that are ``present``.
            cameras: of N frames.
            present: (N, cameras) bool.
            shown: see :meth:`losses`.
        """
        config, count = self.config, self.config.proposals
        back = torch.linalg.inv(cameras.intrinsics[present].double()).float()
        views = view_boxes(said, back, config.head)
        places = cameras.to_lidar.new_zeros(len(present), count, 3)
        there = torch.zeros_like(places[..., 0], dtype=torch.bool)
        start = 0
        for frame, row in enumerate(present):
            seen = int(row.sum())
            own, start = views[start : start + seen], start + seen
            if not own:
                continue
            overlap, ground = (
                config.perspective.detections.ground_overlap,
                None if shown is None else shown.ground[frame],
            )
            best = proposals(own, cameras.to_lidar[frame][row], config.grid, overlap, ground)[:count]
            places[frame, : len(best)] = best
            there[frame, : len(best)] = True
        return Proposals(places, there)


def _of(maps: Sequence[Tensor], there: Tensor) -> list[Tensor]:
    """Maps of the pictures that there are."""
    return list(maps) if bool(there.all()) else [one[there] for one in maps]
