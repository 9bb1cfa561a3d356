"""Augmentation of training images of a segmenter."""

from __future__ import annotations

from dataclasses import dataclass

from internimage.errors import ConfigError


@dataclass(frozen=True)
class SegmentationAugmentation:
    """Augmentation of training images of a segmenter.

    Attributes:
        crop: (height, width) of training images in pixels.
        short: the image is first fitted into this shorter side and ``long``, in pixels, as in evaluation.
        long: maximum of the longer side, in pixels.
        scale: after that, the image is scaled by a random factor between these two.
        most_of_one: largest share of a crop that one class may fill; others are redrawn, up to ten times; 1 for any.
        flip: probability of a horizontal flip.
        photometric: jitter brightness, contrast, saturation and hue of half of the images.
    """

    crop: tuple[int, int] = (512, 512)
    short: int = 512
    long: int = 2048
    scale: tuple[float, float] = (0.5, 2.0)
    most_of_one: float = 0.75
    flip: float = 0.5
    photometric: bool = True

    def __post_init__(self) -> None:
        if min(self.crop) < 1:
            raise ConfigError(f"crop is {self.crop}; expected height and width in pixels")
        if not 1 <= self.short <= self.long:
            raise ConfigError(f"short and long are {self.short} and {self.long}; expected 1 <= short <= long")
        if not 0 < self.scale[0] <= self.scale[1] < 100:
            raise ConfigError(f"scale is {self.scale}; expected two factors, 0 < low <= high < 100")
        if not 0 <= self.flip <= 1 or not 0 < self.most_of_one <= 1:
            raise ConfigError(f"flip is {self.flip} and most_of_one {self.most_of_one}; expected shares of 1")
