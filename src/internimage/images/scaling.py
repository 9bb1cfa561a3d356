"""From a picture to the tensor that a detector or segmenter takes: its whole, scaled to fit, and batches of such."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from internimage.errors import ConfigError, ImageReadError
from internimage.images.transforms import check_statistics, statistics_of
from internimage.settings.depth import WHOLE, Depth

if TYPE_CHECKING:  # recipes name preprocessings, and are listed without numpy, Pillow or torch
    import numpy as np
    import torch

    from internimage.images.channels import AnyImage
    from internimage.images.reader import ImageSource

_UNIT = 2048  # OpenCV's weights of 8-bit pixels are whole numbers of 1 / 2048


@dataclass(frozen=True)
class Scaled:
    """A picture as a network takes it.

    Attributes:
        image: float32 (C, H, W).
        original: (height, width) of the picture.
        seen: (height, width) of the picture in ``image``, at the top left.
    """

    image: np.ndarray[Any, Any]
    original: tuple[int, int]
    seen: tuple[int, int]


@dataclass(frozen=True)
class FitPreprocessing:
    """Scale into a frame, keeping the shape, and normalise: the test pipeline of the released detectors and segmenters.

    Scaling is bilinear without antialiasing, in the whole numbers that OpenCV computes with.

    Attributes:
        short, long: the shorter side becomes ``short`` pixels, unless the longer one would exceed ``long``.
        mean: subtracted from the channels in [0, 255]; ImageNet's RGB by default.  As many channels as it has values
            are read of each picture.
        std: the channels are divided by it afterwards; ImageNet's by default.
        multiple: after the first scaling, both sides grow to the next multiple of this, by a second one.
        depth: how deep pixels are read.
    """

    short: int = 800
    long: int = 1333
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    std: tuple[float, ...] = (58.395, 57.12, 57.375)
    multiple: int = 1
    depth: Depth = WHOLE

    def __post_init__(self) -> None:
        if not 1 <= self.short <= self.long:
            raise ConfigError(f"short and long are {self.short} and {self.long}; expected 1 <= short <= long")
        if self.multiple < 1:
            raise ConfigError(f"multiple is {self.multiple}; expected 1 or more")
        check_statistics(self.mean, self.std)

    @property
    def side(self) -> int:
        """Shorter side of the result in pixels."""
        return self.short

    @property
    def extent(self) -> str:
        """Size of the result, for people."""
        return f"{self.short}x{self.long}"

    @property
    def channels(self) -> int:
        """Channels of a picture as the model sees it."""
        return len(self.mean)

    def of_channels(self, channels: int) -> FitPreprocessing:
        """The same for pictures of so many channels; see :func:`internimage.images.transforms.statistics_of`."""
        return replace(self, mean=statistics_of(self.mean, channels), std=statistics_of(self.std, channels))

    def seen_with(self, depth: Depth | None) -> FitPreprocessing:
        """The same with deep pixels read so; None changes nothing."""
        return self if depth is None else replace(self, depth=depth)

    def read(self, source: ImageSource) -> AnyImage:
        """The picture as ``__call__`` takes it."""
        return source.read(self.channels, self.depth)

    def __call__(self, image: AnyImage) -> torch.Tensor:
        """Preprocess one picture of mode "RGB", or of C channels: float32 (C, H, W)."""
        import torch

        return torch.from_numpy(self.array(image))

    def array(self, image: AnyImage, frame: tuple[int, int] | None = None) -> np.ndarray[Any, Any]:
        """What ``__call__`` gives as a NumPy array, without torch; no larger than ``frame`` (height, width)."""
        import numpy as np

        from internimage.images.channels import check_mode, pixels_of
        from internimage.images.decoding import exceeds_pixel_limit

        check_mode(image, self.channels)
        height, width = self.size((image.height, image.width), frame)
        if exceeds_pixel_limit(width, height):
            raise ImageReadError(f"{image.width}x{image.height} pixels scaled to {width}x{height} are too many")
        scaled = scale_bilinear(pixels_of(image), height, width)
        higher, wider = (-(-side // self.multiple) * self.multiple for side in (height, width))
        if (higher, wider) != (height, width):
            scaled = scale_bilinear(scaled, higher, wider)
        pixels = scaled.astype(np.float32)
        pixels -= np.array(self.mean, np.float32)
        pixels *= (1 / np.array(self.std)).astype(np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def nodes(self, op: Any, picture: Any) -> Any:
        """The same as nodes of ONNX: float32 (1, C, H, W) from uint8 (H, W, C), bit for bit."""
        from internimage.images.nodes import fitted

        return fitted(op, picture, self)

    def scaled(self, image: AnyImage, frame: tuple[int, int] | None = None) -> Scaled:
        """What ``array`` gives, with its sizes; a ``frame`` is filled up with the mean colour."""
        values = self.array(image, frame)
        seen = values.shape[1], values.shape[2]
        return Scaled(values if frame is None else in_frame(values, frame), (image.height, image.width), seen)

    def resized(self, size: int) -> FitPreprocessing:
        """The same with a shorter side of ``size`` pixels, and a longer one in proportion."""
        return replace(self, short=size, long=round(size * self.long / self.short))

    def size(self, original: tuple[int, int], frame: tuple[int, int] | None = None) -> tuple[int, int]:
        """(height, width) after the first scaling, at least one pixel each and within a frame."""
        shorter, longer = min(original), max(original)
        scale = min(self.long / longer, self.short / shorter)
        if frame is not None:
            scale = min(scale, *(most / side for most, side in zip(frame, original, strict=True)))
        height, width = (max(1, int(side * scale + 0.5)) for side in original)
        return height, width


def in_frame(values: np.ndarray[Any, Any], frame: tuple[int, int]) -> np.ndarray[Any, Any]:
    """An image (C, h, w) at the top left of one (C, H, W) of zeros, which are the mean colour."""
    import numpy as np

    _, height, width = values.shape
    return np.pad(values, ((0, 0), (0, frame[0] - height), (0, frame[1] - width)))


def scale_bilinear(pixels: np.ndarray[Any, Any], height: int, width: int) -> np.ndarray[Any, Any]:
    """A uint8 picture (H, W, C) in another size, as OpenCV's ``INTER_LINEAR``: from four pixels, whatever the scale.

    Weights are rounded to 1 / 2048, rows blended first along x, then along y with the lowest bits cut off.
    """
    import numpy as np

    left, right, x = _weights(pixels.shape[1], width)
    x = np.where(left == right, 0, x)  # along y, OpenCV blends an edge row with itself, which may cost it a step
    upper, lower, y = _weights(pixels.shape[0], height)
    x = x[:, None]
    used, places = np.unique(np.stack([upper, lower]), return_inverse=True)  # of a large picture made small, few rows
    wide = pixels[used].astype(np.int32)
    rows = (wide[:, left] * (_UNIT - x) + wide[:, right] * x) >> 4
    y, (upper, lower) = y[:, None, None], places.reshape(2, -1)
    blended = ((rows[upper] * (_UNIT - y)) >> 16) + ((rows[lower] * y) >> 16)
    return ((blended + 2) >> 2).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=64)  # a quarter of the time of a small picture, and data sets have few sizes
def _weights(length: int, wanted: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """For each of ``wanted`` pixels: its two neighbours among ``length``, and the second's weight of 2048."""
    import numpy as np

    place = ((np.arange(wanted) + 0.5) * (length / wanted) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    share = np.rint((place - first.astype(np.float32)) * np.float32(_UNIT)).astype(np.int32)
    return first.clip(0, length - 1), (first + 1).clip(0, length - 1), share
