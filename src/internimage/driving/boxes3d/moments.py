"""Frames of several moments as a BEVFormer v2 takes them: pictures, calibrations, and what single pictures show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from internimage.driving.augmentation.features import variations
from internimage.driving.augmentation.ground import varied_boxes
from internimage.driving.augmentation.pictures import shown_intrinsic
from internimage.driving.augmentation.settings import Framing, Shown
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import BoxTargets, Cameras, Variations, Views
from internimage.driving.boxes3d.targets import box_targets
from internimage.driving.data.frames import Camera, Frame
from internimage.driving.geometry.motion import moved_between
from internimage.driving.geometry.poses import Array
from internimage.driving.perspective.targets import CameraTargets, camera_targets, empty_targets
from internimage.driving.sequences.batch import Batch, Seen, make_views
from internimage.driving.sequences.dataset import SequenceDataset, SequenceSample, see
from internimage.errors import DataError
from internimage.images import FitPreprocessing, ImageSource

Near = Callable[[int], "Frame | None"]


@dataclass(frozen=True, eq=False)
class Moments:
    """Frames of all moments of a network, pictures and calibrations seen from the present one.

    Attributes:
        frame: the present.
        seen: of each moment; one that is missing has no pictures.
        framing: what is shown of each camera's picture.
    """

    frame: Frame
    seen: tuple[Seen, ...]
    framing: Callable[[Camera], Framing]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the first camera's picture."""
        return self.seen[0].size


@dataclass(frozen=True)
class Shows:
    """What is shown of a camera's picture: all below a share of its height, at the size of a preprocessing.

    Attributes:
        preprocessing: fits the part into its frame.
        above: share that is cut off at the top.
        zoom: of that size.
    """

    preprocessing: FitPreprocessing
    above: float
    zoom: float = 1.0

    def __call__(self, camera: Camera) -> Framing:
        height, width = camera.size
        top = min(height - 1, round(self.above * height))
        rows, _ = self.preprocessing.size((height - top, width))
        return Framing((0, top, width, height), self.zoom * rows / (height - top))


def see_moments(
    frame: Frame,
    near: Near,
    config: Any,
    preprocessing: FitPreprocessing,
    zoom: float = 1.0,
    random: np.random.Generator | None = None,
) -> Moments:
    """The frames of all moments; of one that is not there, no pictures.

    Args:
        frame: the present.
        near: gives the frame so many places later.
        config: a :class:`internimage.driving.models.bevformer_v2.BEVFormerV2Config`.
        preprocessing: of each camera's picture.
        zoom: of the size in prediction.
        random: varies the colours.

    Raises:
        ImageReadError: a picture cannot be read.
        DataError: the network has other cameras.
    """
    shows = Shows(preprocessing, config.above, zoom)
    seen = []
    for offset in config.frames:
        other = frame if offset == 0 else near(offset)
        if other is None:
            seen.append(_unseen(frame, len(config.cameras)))
            continue
        own = see(other, config.cameras, preprocessing, random, shows)
        seen.append(replace(own, lidar_to_pixels=own.lidar_to_pixels @ moved_between(frame, other).matrix))
    return Moments(frame, tuple(seen), shows)


def _unseen(frame: Frame, cameras: int) -> Seen:
    height, width = frame.cameras[0].size
    return Seen(frame, (None,) * cameras, np.zeros((cameras, 4, 4)), (width, height))


def views_of(moments: Sequence[Moments], config: Any) -> tuple[Views, ...]:
    """Frames of each moment, all padded alike."""
    sizes = [image.shape[1:] for one in moments for seen in one.seen for image in seen.images if image is not None]
    least = max(size[0] for size in sizes), max(size[1] for size in sizes)
    rows = zip(*(one.seen for one in moments), strict=True)
    return tuple(make_views(row, [None] * len(row), config, least) for row in rows)


def cameras_of(moments: Sequence[Moments], channels: Sequence[str]) -> Cameras:
    """The cameras of the present, as what is shown of their pictures has them; ones where a camera is missing."""
    intrinsics, places = np.zeros((len(moments), len(channels), 3, 3)), np.zeros((len(moments), len(channels), 4, 4))
    intrinsics[:], places[:] = np.eye(3), np.eye(4)
    for row, one in enumerate(moments):
        there = {camera.channel: camera for camera in one.frame.cameras}
        for column, channel in enumerate(channels):
            if (camera := there.get(channel)) is not None:
                intrinsics[row, column] = shown_intrinsic(camera.intrinsic, one.framing(camera))
                places[row, column] = camera.pose.matrix
    return Cameras(torch.from_numpy(intrinsics).float(), torch.from_numpy(places).float())


@dataclass(frozen=True, eq=False)
class MomentsSample(SequenceSample):
    """A frame with its moments, ready for a batch.

    Attributes:
        moments: of the frame.
        pictures: what each of its cameras shows.
        shown: in which way it is shown.
    """

    moments: Moments | None = None
    pictures: tuple[CameraTargets, ...] = ()
    shown: Shown = field(default_factory=Shown)


@dataclass(frozen=True)
class MomentsBatch(Batch):
    """Frames to learn from.

    Attributes:
        cameras: of the present.
        pictures: what each camera of each frame shows.
        shown: in which way the frames are shown.
    """

    cameras: Cameras | None = None
    pictures: tuple[CameraTargets, ...] = ()
    shown: Variations | None = None

    def to(self, device: torch.device) -> MomentsBatch:
        """The batch on another device."""
        assert self.cameras is not None
        assert self.shown is not None
        moved = super().to(device)
        assert isinstance(moved, MomentsBatch)
        pictures = tuple(one.to(device) for one in self.pictures)
        return replace(moved, cameras=self.cameras.to(device), pictures=pictures, shown=self.shown.to(device))


class MomentsDataset(SequenceDataset):
    """Reads frames with their moments; see :class:`SequenceDataset`."""

    def prepare(self, entry: Frame, source: ImageSource, picture: Any, unreadable: tuple[str, ...]) -> MomentsSample:
        random = np.random.default_rng(int(torch.randint(2**62, ())))
        shown = self.augmentation.scene.drawn(random)
        varied = random if self.augmentation.photometric else None
        near = partial(self.data.near, entry)
        moments = see_moments(entry, near, self.config, self.preprocessing, shown.zoom, varied)
        cameras = {camera.channel: camera for camera in entry.cameras}
        pictures = tuple(
            camera_targets(entry, cameras[name], moments.framing(cameras[name]))
            if name in cameras
            else empty_targets(np.eye(3))
            for name in self.config.cameras
        )
        targets = varied_targets(entry, self.config.grid, shown)
        return MomentsSample(moments.seen, targets, unreadable, moments, pictures, shown)


def varied_targets(frame: Frame, grid: BEVGrid, shown: Shown) -> BoxTargets:
    """What is learnt of a frame on the ground as it is shown."""
    return box_targets(frame, grid, partial(varied_boxes, variation=shown.ground))


def batch_of(samples: Sequence[MomentsSample], config: Any) -> MomentsBatch:
    """Samples together."""
    moments = [sample.moments for sample in samples if sample.moments is not None]
    if len(moments) < len(samples):
        raise DataError("a sample without its moments; expected those of a MomentsDataset")
    return MomentsBatch(
        views_of(moments, config),
        tuple(sample.targets for sample in samples),
        tuple(name for sample in samples for name in sample.unreadable),
        cameras_of(moments, config.cameras),
        tuple(picture for sample in samples for picture in sample.pictures),
        variations([sample.shown for sample in samples]),
    )


def usual_sizes(labels: Array, sizes: Array, count: int) -> list[tuple[float, float, float]]:
    """Mean width, length and height in metres of each class; of one that is nowhere, of all."""
    rows = [sizes[labels == label] for label in range(count)]
    means = [row.mean(0) if len(row) else sizes.mean(0) for row in rows]
    return [(float(width), float(length), float(height)) for width, length, height in means]
