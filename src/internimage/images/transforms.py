"""From a picture to the tensor that a classifier takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from internimage.errors import ConfigError, ImageReadError
from internimage.settings.depth import WHOLE, Depth

if TYPE_CHECKING:  # recipes name preprocessings, and are listed without numpy, Pillow or torch
    import numpy as np
    import torch

    from internimage.images.channels import AnyImage
    from internimage.images.reader import ImageSource

_FILTERS = ("bicubic", "bilinear")
_REACH = 2  # pixels beside the middle that the wider of them sees


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop the centre, scale to [0, 1] and normalise.

    Gives bit for bit what torchvision gives for a PIL image with ``Resize(resize)``, ``CenterCrop(crop)``,
    ``ToTensor()`` and ``Normalize(mean, std)``, rounding of sizes and black padding included.  One exception
    keeps very long pictures from filling the memory (1x4000 resized to 224 would be 224x896000): where the
    resized picture would be over ``PIL.Image.MAX_IMAGE_PIXELS``, only the crop of it is computed, and its
    8-bit values may differ by one rounding step.

    Attributes:
        resize: Length of the shorter side after resizing, in pixels.
        crop: Side of the square cut from the centre, in pixels, padded with black where the picture is
            smaller; ``None`` keeps the whole picture.
        interpolation: Filter of the resizing, antialiased.
        mean: Subtracted from the channels in [0, 1]; ImageNet's RGB by default.  As many channels as it has values are
            read of each picture.
        std: The channels are divided by it afterwards; ImageNet's by default.
        depth: How deep pixels are read.
    """

    resize: int
    crop: int | None = None
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    depth: Depth = WHOLE

    def __post_init__(self) -> None:
        if self.resize < 1 or (self.crop is not None and self.crop < 1):
            raise ConfigError(f"resize and crop must be at least 1 pixel, got {self.resize} and {self.crop}")
        if self.interpolation not in _FILTERS:
            raise ConfigError(f"interpolation must be one of {', '.join(_FILTERS)}, got {self.interpolation}")
        check_statistics(self.mean, self.std)

    @property
    def side(self) -> int:
        """Side of the result in pixels; of uncropped pictures the shorter one."""
        return self.crop or self.resize

    @property
    def extent(self) -> str:
        """Size of the result, for people."""
        return str(self.side)

    @property
    def channels(self) -> int:
        """Channels of a picture as the model sees it."""
        return len(self.mean)

    def of_channels(self, channels: int) -> Preprocessing:
        """The same for pictures of so many channels; see :func:`statistics_of`."""
        return replace(self, mean=statistics_of(self.mean, channels), std=statistics_of(self.std, channels))

    def seen_with(self, depth: Depth | None) -> Preprocessing:
        """The same with deep pixels read so; None changes nothing."""
        return self if depth is None else replace(self, depth=depth)

    def read(self, source: ImageSource) -> AnyImage:
        """The picture as ``__call__`` takes it."""
        return source.read(self.channels, self.depth)

    def resized(self, size: int) -> Preprocessing:
        """The same for squares of ``size`` pixels."""
        return replace(self, resize=size, crop=size)

    def __call__(self, image: AnyImage) -> torch.Tensor:
        """Preprocess one picture.

        Args:
            image: Mode ``"RGB"``, or of C channels, as :func:`internimage.images.read_image` returns it.

        Returns:
            float32 tensor (C, H, W); H = W = ``crop`` unless that is ``None``.

        Raises:
            ImageReadError: Another mode, no pixels, or without ``crop`` a resized picture over the limit.
        """
        import torch

        return torch.from_numpy(self.array(image))

    def array(self, image: AnyImage) -> np.ndarray[Any, Any]:
        """What ``__call__`` gives as a NumPy array, without torch."""
        import numpy as np

        from internimage.images.channels import check_mode, pixels_of

        check_mode(image, self.channels)
        pixels = pixels_of(self._resize_and_crop(image)).transpose(2, 0, 1)
        values = np.divide(pixels, np.float32(255), dtype=np.float32, order="C")
        mean, std = (np.array(v, np.float32)[:, None, None] for v in (self.mean, self.std))
        values -= mean
        values /= std
        return values

    def nodes(self, op: Any, picture: Any) -> Any:
        """The same as nodes of ONNX: float32 (1, C, H, W) from uint8 (H, W, C), bit for bit."""
        from internimage.images.nodes import cropped

        return cropped(op, picture, self)

    def _resize_and_crop(self, image: AnyImage) -> AnyImage:
        from PIL import Image

        from internimage.images.decoding import exceeds_pixel_limit

        filter_ = Image.Resampling[self.interpolation.upper()]
        shorter = min(image.size)
        width, height = (int(self.resize * side / shorter) for side in image.size)
        too_large = exceeds_pixel_limit(width, height)
        if self.crop is None:
            if too_large:
                raise ImageReadError(
                    f"{image.width}x{image.height} pixels resized to {width}x{height} are too many, "
                    "choose a smaller size or a crop"
                )
            return image.resize((width, height), filter_)
        left, top = _margin(width, self.crop), _margin(height, self.crop)
        if too_large:
            inside = max(left, 0), max(top, 0), min(left + self.crop, width), min(top + self.crop, height)
            image = _part_of_resized(image, (width, height), inside, filter_)
            left, top = min(left, 0), min(top, 0)
        else:
            image = image.resize((width, height), filter_)
        # PIL fills what lies outside with black.
        return image.crop((left, top, left + self.crop, top + self.crop))


def _part_of_resized(image: AnyImage, size: tuple[int, int], box: tuple[int, int, int, int], filter_: Any) -> AnyImage:
    """What lies in a box of the picture resized to (width, height), without the rest.

    Columns first and then rows, as Pillow resizes whole pictures; of a box it may take rows first, and what is rounded
    between the two is something else: up to 24 steps of 255 of noise.
    """
    near, within = [], []  # pixels of the picture that the box needs, and where it lies among them, along x and y
    for own, wanted, start, end in zip(image.size, size, box[:2], box[2:], strict=True):
        scale = own / wanted
        first = max(0, int(start * scale - _REACH * max(1.0, scale) - 1))
        last = min(own, int(end * scale + _REACH * max(1.0, scale)) + 2)
        near.append((first, last))
        within.append((start * scale - first, min(end * scale, own) - first))
    (left, right), (top, bottom) = near
    image = image.crop((left, top, right, bottom))
    width, height = box[2] - box[0], box[3] - box[1]
    image = image.resize((width, bottom - top), filter_, box=(within[0][0], 0, within[0][1], bottom - top))
    return image.resize((width, height), filter_, box=(0, within[1][0], width, within[1][1]))


def check_statistics(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Raise :class:`ConfigError` unless there are as many means as deviations, which are positive."""
    if not mean or len(mean) != len(std) or not all(value > 0 for value in std):
        raise ConfigError(f"mean and std need a value for each channel, std above 0, got {mean} and {std}")


def statistics_of(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Means or deviations for another number of channels: of one the mean of all, of more the mean for the new ones."""
    if channels < 1:
        raise ConfigError(f"{channels} channels; expected 1 or more")
    if channels == len(values):
        return values
    middle = [sum(values) / len(values)] * channels
    return (*values, *middle)[:channels] if channels > 1 else tuple(middle)


def _margin(length: int, crop: int) -> int:
    """Where a centred crop starts, rounded as torchvision does; negative where the crop is larger."""
    return -((crop - length) // 2) if crop > length else round((length - crop) / 2)
