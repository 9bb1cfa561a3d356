"""Frames to learn from, each with the frames before it; a sample is a function of (seed, epoch, index) alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from internimage.data.dataset import OnCorrupt, PictureDataset
from internimage.driving.augmentation.settings import Framing
from internimage.driving.data.frames import Camera, Frame, Frames, FrameSource
from internimage.driving.data.preparing import queue, read_cameras
from internimage.driving.sequences.batch import Seen
from internimage.driving.sequences.settings import DriveAugmentation
from internimage.errors import DataError
from internimage.images import FitPreprocessing, ImageSource


@dataclass(frozen=True, eq=False)
class SequenceSample:
    """A frame with those before it, ready for a batch.

    Attributes:
        seen: frames in a row; the last is learnt from.
        targets: what is to be found in it.
        unreadable: files that could not be read and that this sample stands in for.
    """

    seen: tuple[Seen, ...]
    targets: Any
    unreadable: tuple[str, ...] = ()


class SequenceDataset(PictureDataset[Frame, SequenceSample]):
    """Reads frames in rows.

    Args:
        data: the frames.
        config: of the network, see :class:`internimage.driving.models.bev.BEVConfig`.
        preprocessing: of each camera's picture.
        augmentation: see there.
        targets: what is to be found in a frame.
        seed, on_corrupt: see :class:`PictureDataset`.
    """

    def __init__(
        self,
        data: Frames,
        config: Any,
        preprocessing: FitPreprocessing,
        augmentation: DriveAugmentation,
        targets: Callable[[Frame], Any],
        *,
        seed: int = 0,
        on_corrupt: OnCorrupt = "error",
    ) -> None:
        super().__init__(data.name, data.entries, seed, on_corrupt, _moment)
        self.data, self.config, self.preprocessing, self.augmentation = data, config, preprocessing, augmentation
        self.targets = targets

    def source(self, entry: Frame) -> FrameSource:
        return self.data.source(entry)

    def prepare(self, entry: Frame, source: ImageSource, picture: Any, unreadable: tuple[str, ...]) -> SequenceSample:
        random = np.random.default_rng(int(torch.randint(2**62, ())))
        places = queue(
            self.data.numbers[entry.token], self.augmentation.queue, random if self.augmentation.skip else None
        )
        varied = random if self.augmentation.photometric else None
        seen = tuple(see(self.entries[place], self.config.cameras, self.preprocessing, varied) for place in places)
        return SequenceSample(seen, self.targets(entry), unreadable)


def see(
    frame: Frame,
    cameras: tuple[str, ...],
    preprocessing: FitPreprocessing,
    random: np.random.Generator | None = None,
    framing: Callable[[Camera], Framing] | None = None,
) -> Seen:
    """A frame's pictures as a network takes them, with other colours where a generator is given, see
    :func:`internimage.driving.data.preparing.read_cameras`.

    Raises:
        ImageReadError: a picture cannot be read.
        DataError: the network has other cameras.
    """
    if not {camera.channel for camera in frame.cameras} & set(cameras):
        seen = ", ".join(camera.channel for camera in frame.cameras)
        raise DataError(f"{frame.scene}: its cameras are {seen}; expected any of the network's: {', '.join(cameras)}")
    images, matrices = read_cameras(frame, cameras, preprocessing, random, framing)
    height, width = frame.cameras[0].size
    tensors = tuple(None if image is None else torch.from_numpy(image) for image in images)
    return Seen(frame, tensors, np.stack(matrices), (width, height))


def _moment(source: ImageSource) -> Any:
    """The frame itself: its pictures are read together with those before it."""
    assert isinstance(source, FrameSource)
    return source.moment
