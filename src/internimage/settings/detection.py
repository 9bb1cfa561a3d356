"""How training images with objects are varied."""

from __future__ import annotations

from dataclasses import dataclass

from internimage.errors import ConfigError


@dataclass(frozen=True)
class DetectionAugmentation:
    """How training images with objects are varied.

    Attributes:
        short_sides: the shorter side becomes one of these, in pixels, unless the longer one would exceed ``long``.
        long: greatest longer side, in pixels.
        crop: half of the images are first scaled to a shorter side of 400, 500 or 600 and cropped to sides between 384
            and 600: the released schedules of 36 epochs.  These numbers are for a greatest ``short_sides`` of 800, and
            are scaled with it.
        jitter: large-scale jitter instead of the three above: the picture is fitted into a square of side ``long``,
            scaled by a factor between these two, and cropped or padded to the square (https://arxiv.org/abs/2012.07177,
            where the factors are 0.1 and 2).
        flip: probability of a horizontal flip.
        photometric: vary brightness, contrast, saturation and hue of half of the images.
    """

    short_sides: tuple[int, ...] = (800,)
    long: int = 1333
    crop: bool = False
    jitter: tuple[float, float] | None = None
    flip: float = 0.5
    photometric: bool = False

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
