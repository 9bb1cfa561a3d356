"""From a picture to the tensor that a classifier takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from internimage.errors import ConfigError, ImageReadError

if TYPE_CHECKING:  # recipes name preprocessings, and are listed without numpy, Pillow or torch
    import torch
    from PIL import Image

_FILTERS = ("bicubic", "bilinear")


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
        mean: Subtracted from the RGB channels in [0, 1]; ImageNet's by default.
        std: The channels are divided by it afterwards; ImageNet's by default.
    """

    resize: int
    crop: int | None = None
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if self.resize < 1 or (self.crop is not None and self.crop < 1):
            raise ConfigError(f"resize and crop must be at least 1 pixel, got {self.resize} and {self.crop}")
        if self.interpolation not in _FILTERS:
            raise ConfigError(f"interpolation must be one of {', '.join(_FILTERS)}, got {self.interpolation}")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(value > 0 for value in self.std):
            raise ConfigError(f"mean and std need 3 values, std above 0, got {self.mean} and {self.std}")

    @property
    def side(self) -> int:
        """Side of the result in pixels; of uncropped pictures the shorter one."""
        return self.crop or self.resize

    @property
    def extent(self) -> str:
        """Size of the result, for people."""
        return str(self.side)

    def resized(self, size: int) -> Preprocessing:
        """The same for squares of ``size`` pixels."""
        return replace(self, resize=size, crop=size)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Preprocess one picture.

        Args:
            image: Mode ``"RGB"``, as :func:`internimage.images.read_image` returns it.

        Returns:
            float32 tensor (3, H, W); H = W = ``crop`` unless that is ``None``.

        Raises:
            ImageReadError: Another mode, no pixels, or without ``crop`` a resized picture over the limit.
        """
        import numpy as np
        import torch

        if image.mode != "RGB" or 0 in image.size:
            raise ImageReadError(f"expected an RGB image, got mode {image.mode}, size {image.size}")
        # A copy, because torch wants memory that it may write to.
        pixels = torch.from_numpy(np.array(self._resize_and_crop(image)))
        tensor = pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        mean, std = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (self.mean, self.std))
        return tensor.sub_(mean).div_(std)

    def _resize_and_crop(self, image: Image.Image) -> Image.Image:
        from PIL import Image

        from internimage.images.reader import exceeds_pixel_limit

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
            x0, y0 = max(left, 0), max(top, 0)
            x1, y1 = min(left + self.crop, width), min(top + self.crop, height)
            x_scale, y_scale = image.width / width, image.height / height
            right, bottom = min(x1 * x_scale, image.width), min(y1 * y_scale, image.height)
            box = (x0 * x_scale, y0 * y_scale, right, bottom)
            image = image.resize((x1 - x0, y1 - y0), filter_, box=box)
            left, top = min(left, 0), min(top, 0)
        else:
            image = image.resize((width, height), filter_)
        # PIL fills what lies outside with black.
        return image.crop((left, top, left + self.crop, top + self.crop))


def _margin(length: int, crop: int) -> int:
    """Where a centred crop starts, rounded as torchvision does; negative where the crop is larger."""
    return -((crop - length) // 2) if crop > length else round((length - crop) / 2)
