"""Augmentation of training images of a detector."""

from __future__ import annotations

from dataclasses import dataclass

from internimage.errors import ConfigError


@dataclass(frozen=True)
class DetectionAugmentation:
    """Augmentation of training images of a detector.

    Attributes:
        short_sides: shorter sides in pixels, one drawn at random; smaller if the longer side would exceed ``long``.
        long: maximum of the longer side, in pixels.
        crop: first scale half of the images to a shorter side of 400, 500 or 600 and crop them to sides between 384
            and 600, as in the released schedules of 36 epochs.  These numbers are for a largest ``short_sides`` of 800
            and scale with it.
        jitter: large-scale jitter instead of ``short_sides`` and ``crop``: fit the image into a square of side
            ``long``, scale it by a random factor between these two, and crop or pad it to the square
            (https://arxiv.org/abs/2012.07177, where the factors are 0.1 and 2).
        flip: probability of a horizontal flip.
        photometric: jitter brightness, contrast, saturation and hue of half of the images.
        every_side: draw the shorter side from all whole numbers from the smallest to the largest of ``short_sides``.
    """

    short_sides: tuple[int, ...] = (800,)
    long: int = 1333
    crop: bool = False
    jitter: tuple[float, float] | None = None
    flip: float = 0.5
    photometric: bool = False
    every_side: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise ConfigError(f"flip is {self.flip}; expected a probability between 0 and 1")
        if self.jitter is not None:
            if self.crop or self.long < 1 or not 0 < self.jitter[0] <= self.jitter[1] < 10:
                raise ConfigError(
                    f"jitter is {self.jitter}; expected two factors, 0 < low <= high < 10, and crop=False"
                )
        elif not self.short_sides or not 1 <= min(self.short_sides) <= max(self.short_sides) <= self.long:
            raise ConfigError(
                f"short_sides are {self.short_sides} and long is {self.long}; expected 1 <= short_sides <= long"
            )
