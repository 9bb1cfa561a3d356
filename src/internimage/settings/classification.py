"""Augmentation of training images of a classifier."""

from __future__ import annotations

from dataclasses import dataclass

from internimage.errors import ConfigError


@dataclass(frozen=True)
class ClassificationAugmentation:
    """Augmentation of training images of a classifier.

    Attributes:
        min_scale: smallest share of the image's area in a random crop.
        flip: probability of a horizontal flip.
        rand_augment: magnitude of RandAugment, 0 to 30 (two operations); 0 for none.
        colour_jitter: strength of brightness, contrast and saturation jitter, used only without RandAugment.
        erasing: probability of erasing a random rectangle.
        mixup: strength (beta parameter) of mixup; 0 for none.
        cutmix: strength (beta parameter) of cutmix; 0 for none.  With mixup and cutmix, each batch gets one of them.
        label_smoothing: share of the target that is spread over all classes.
    """

    min_scale: float = 0.35
    flip: float = 0.5
    rand_augment: int = 9
    colour_jitter: float = 0.4
    erasing: float = 0.25
    mixup: float = 0.8
    cutmix: float = 1.0
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        shares = (self.min_scale, self.flip, self.erasing, self.label_smoothing)
        if not all(0 <= share <= 1 for share in shares) or self.min_scale == 0:
            raise ConfigError("min_scale, flip, erasing and label_smoothing are shares between 0 and 1")
        if self.label_smoothing == 1:
            raise ConfigError("label_smoothing is 1, which leaves nothing of the labels; expected less")
        if min(self.mixup, self.cutmix, self.colour_jitter) < 0 or not 0 <= self.rand_augment <= 30:
            raise ConfigError("mixup, cutmix and colour_jitter are 0 or more, rand_augment is 0 to 30")
