"""How frames of drives are shown in training.  No torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from internimage.driving.augmentation.settings import SceneAugmentation
from internimage.errors import ConfigError


@dataclass(frozen=True)
class DriveAugmentation:
    """How frames are shown in training.

    Attributes:
        queue: frames that are seen in a row, of which the last is learnt from and those before make the history; 1 for
            no history.
        skip: of as many frames before as the queue is long, leave one out at random, so that networks see motion over
            different times (as published); otherwise those right before, as in prediction.
        photometric: vary brightness, contrast, saturation and hue of each camera's picture.
        scene: pictures and ground in other ways, for networks that take them so (BEVFormer v2).
        grid_mask: in seven of ten batches, cut a grid of squares out of all pictures (Chen et al., GridMask, 2020).
    """

    queue: int = 3
    skip: bool = True
    photometric: bool = True
    grid_mask: bool = True
    scene: SceneAugmentation = field(default_factory=SceneAugmentation)

    def __post_init__(self) -> None:
        if self.queue < 1:
            raise ConfigError(f"queue is {self.queue}; expected 1 frame or more")


def same_whatever_size(augmentation: DriveAugmentation, size: int) -> DriveAugmentation:
    """The settings for images of another size: nothing of them is in pixels."""
    return augmentation
