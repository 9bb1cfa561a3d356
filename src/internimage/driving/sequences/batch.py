"""Frames as a network takes them: pictures of all cameras, padded together, and the motion between frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from internimage.driving.bev.inputs import Views
from internimage.driving.data.frames import Frame
from internimage.driving.geometry.motion import bev_shift, bev_turn, can_bus_vector
from internimage.driving.geometry.poses import Array


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame's pictures as a network takes them.

    Attributes:
        frame: the moment.
        images: of each camera of the network (3, H, W) float32; None where it is missing.
        lidar_to_pixels: (cameras, 4, 4) float64, to pixels of ``images``; zeros where it is missing.
        size: (width, height) of the first camera's picture as it is on disk.
    """

    frame: Frame
    images: tuple[Tensor | None, ...]
    lidar_to_pixels: Array
    size: tuple[int, int]


@dataclass(frozen=True)
class Batch:
    """Frames to learn from.

    Attributes:
        queue: frames in a row; the last is learnt from, those before make the history.
        targets: what is to be found in the last of each.
        unreadable: files left out in reading this batch.
    """

    queue: tuple[Views, ...]
    targets: tuple[Any, ...]
    unreadable: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        queue = tuple(views.to(device) for views in self.queue)
        return replace(self, queue=queue, targets=tuple(truth.to(device) for truth in self.targets))

    def pin_memory(self) -> Batch:
        """The images in page-locked memory, from which they travel to a GPU while it computes."""
        queue = tuple(replace(views, images=views.images.pin_memory()) for views in self.queue)
        return replace(self, queue=queue)


def make_views(
    seen: Sequence[Seen], previous: Sequence[Frame | None], config: Any, least: tuple[int, int] = (1, 1)
) -> Views:
    """Frames as a network takes them, together.

    Args:
        seen: N frames.
        previous: the frame whose history each goes on with; None for none.
        config: of the network, see :class:`internimage.driving.models.bev.BEVConfig`.
        least: height and width that the batch has at least.
    """
    present = [image.shape[1:] for one in seen for image in one.images if image is not None]
    height, width = (-(-max(sides) // config.stride) * config.stride for sides in zip(least, *present, strict=True))
    images = torch.zeros(len(seen), len(seen[0].images), 3, height, width)
    for place, one in zip(images, seen, strict=True):
        for camera, image in zip(place, one.images, strict=True):
            if image is not None:
                camera[:, : image.shape[1], : image.shape[2]] = image
    motions = [
        can_bus_vector(one.frame, before, released=config.released_can_bus)
        for one, before in zip(seen, previous, strict=True)
    ]
    if config.place_in_motion:
        for motion, one in zip(motions, seen, strict=True):
            motion[:3] = one.frame.ego.translation
    x0, y0, _, x1, y1, _ = config.grid.extent
    shifts = np.stack([bev_shift(motion, (x1 - x0, y1 - y0), ahead=config.ahead) for motion in motions])
    to_pixels = [one.lidar_to_pixels for one in seen]
    if config.in_vehicle:
        to_pixels = [one.lidar_to_pixels @ one.frame.lidar.inverse.matrix for one in seen]
    sizes = np.array([[(height, width) if one is None else one.shape[1:] for one in row.images] for row in seen])
    if config.shares_without_padding:
        for matrices, (high, wide) in zip(to_pixels, sizes[:, 0].tolist(), strict=True):
            matrices[:, 0] *= width / wide
            matrices[:, 1] *= height / high
    return Views(
        images,
        torch.from_numpy(np.stack(to_pixels)).float(),
        torch.tensor([[image is not None for image in one.images] for one in seen]),
        torch.from_numpy(np.stack(motions)).float(),
        torch.from_numpy(shifts).float(),
        torch.tensor([bev_turn(motion) for motion in motions], dtype=torch.float32),
        torch.tensor([before is not None for before in previous]),
        torch.from_numpy(sizes),
    )
