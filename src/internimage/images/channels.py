"""Pictures beyond three channels of 8 bits: deep pixels, one channel, any number of channels, arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image, ImageFile

from internimage.errors import ChannelsError, ImageReadError
from internimage.settings.depth import Depth

if TYPE_CHECKING:
    import torch

Values: TypeAlias = "np.ndarray[Any, Any]"
MANY_SAMPLES = 64  # channels, more than any camera has: what is beyond is no picture


class Bands:
    """A picture of two, four or more 8-bit channels: what preprocessing and augmentation ask of a PIL image."""

    def __init__(self, bands: Iterable[Image.Image]) -> None:
        self.bands = tuple(bands)
        self.size = self.bands[0].size
        self.width, self.height = self.size
        self.mode = mode_of(len(self.bands))

    @classmethod
    def of(cls, pixels: Values) -> Bands:
        """A picture of uint8 (H, W, C)."""
        return cls(Image.fromarray(np.ascontiguousarray(pixels[..., band])) for band in range(pixels.shape[2]))

    def resize(
        self,
        size: tuple[int, int],
        resample: Image.Resampling | None = None,
        box: tuple[float, float, float, float] | None = None,
    ) -> Bands:
        return Bands(band.resize(size, resample, box) for band in self.bands)

    def crop(self, box: tuple[int, int, int, int]) -> Bands:
        return Bands(band.crop(box) for band in self.bands)

    def transpose(self, method: Image.Transpose) -> Bands:
        return Bands(band.transpose(method) for band in self.bands)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Values:
        return np.stack([np.asarray(band) for band in self.bands], axis=2).astype(dtype or np.uint8, copy=False)


AnyImage: TypeAlias = "Image.Image | Bands"


def mode_of(channels: int) -> str:
    """The mode of pictures of so many channels: "RGB", "L" or "5 channels"."""
    return {1: "L", 3: "RGB"}.get(channels, f"{channels} channels")


def pixels_of(image: AnyImage) -> Values:
    """uint8 (H, W, C) of a picture with any number of channels."""
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def check_mode(image: AnyImage, channels: int) -> None:
    """Raise :class:`ImageReadError` unless a picture has pixels and the mode of so many channels."""
    if image.mode != mode_of(channels) or 0 in image.size:
        wanted = "an RGB image" if channels == 3 else f"an image of mode {mode_of(channels)}"
        raise ImageReadError(f"expected {wanted}, got mode {image.mode}, size {image.size}")


def eight_bits(values: Values, depth: Depth) -> Values:
    """Pixels of any type as uint8; NaN counts as the lowest value.

    Raises:
        ImageReadError: no numbers, or deep ones whose range nobody said.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "buif":
        raise ImageReadError(f"pixels of type {values.dtype}; expected numbers")
    if values.dtype.kind == "b":
        return values * np.uint8(255)
    if depth.range is None and depth.percentiles is None:
        if values.dtype.kind == "f":
            raise ImageReadError(
                "floating-point pixels of unknown range, expected 8 or 16 bits; say it with --deep-range LOW HIGH or "
                "--deep-percentiles (in Python Depth)"
            )
        low, high = values.min(), values.max()
        if low < 0 or high > 0xFFFF:
            raise ImageReadError(
                f"pixel values from {low} to {high}, expected 8 or 16 bits; say their range with --deep-range LOW HIGH"
            )
        return (values >> 8).astype(np.uint8)
    if depth.range is not None:
        first, last = depth.range
    else:
        assert depth.percentiles is not None
        finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        first, last = np.percentile(finite, depth.percentiles).tolist() if finite.size else (0.0, 1.0)
    scaled = (values.astype(np.float32) - first) * (255 / max(last - first, 1e-12))
    return np.nan_to_num(np.rint(scaled), nan=0, posinf=255, neginf=0).clip(0, 255).astype(np.uint8)


def from_values(values: Values, channels: int | None, depth: Depth) -> AnyImage:
    """A picture of ``channels`` from values (H, W), (H, W, C) or, with other than 1 or 3 channels, (C, H, W).

    Three channels are also made of one, by repetition, and of four, without the last; one of three, by their luminance.
    None: whatever there is, made RGB for people to look at.

    Raises:
        ImageReadError: another shape or type.
    """
    wanted = "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)" if channels in (1, 3, None) else f"(H, W, {channels})"
    if values.ndim == 3 and channels is None:
        values = _shown(values)
    elif values.ndim == 3 and channels not in (1, 3) and values.shape[2] != channels == values.shape[0]:
        values = values.transpose(1, 2, 0)
    count = {2: 1, 3: values.shape[-1]}.get(values.ndim, 0)
    fits = count in (1, 3, 4) if channels in (1, 3, None) else count == channels
    if not fits or not values.size:
        text = f"expected an array of shape {wanted}, got {values.dtype} {values.shape}"
        if values.size and 1 <= count <= MANY_SAMPLES and channels is not None:
            raise ChannelsError(f"{text}; a model for it is trained with --channels {3 if count == 1 else count}")
        raise ImageReadError(text)
    pixels = eight_bits(values, depth)
    if channels not in (1, 3, None):
        return Bands.of(pixels.reshape(*pixels.shape[:2], count))
    return Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).convert(mode_of(channels or 3))


def _shown(values: Values) -> Values:
    """The first three channels of (H, W, C) or (C, H, W), the first one of two."""
    if values.shape != rows_first(values.shape):
        values = values.transpose(1, 2, 0)
    return values[..., :3] if values.shape[2] >= 3 else values[..., :1]


def rows_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(H, W, C) of a shape that is (H, W, C) or (C, H, W)."""
    if len(shape) == 3 and (shape[2] > MANY_SAMPLES or shape[0] < min(shape[1:])):
        return (*shape[1:], shape[0])
    return shape


def from_tensor(tensor: torch.Tensor, channels: int | None, depth: Depth) -> AnyImage:
    """A picture of a tensor (H, W) or (C, H, W), uint8 or floating point in [0, 1]."""
    import torch

    own = {1, 3, channels or 3}
    shaped = tensor.ndim == 2 or (tensor.ndim == 3 and tensor.shape[0] in own)
    if not shaped or not tensor.numel() or not (tensor.dtype == torch.uint8 or tensor.is_floating_point()):
        shapes = " or ".join(["(H, W)", *(f"({count}, H, W)" for count in sorted(own))])
        raise ImageReadError(
            f"expected a uint8 or floating-point tensor of shape {shapes}, got {tensor.dtype} {tuple(tensor.shape)}"
        )
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        low, high = tensor.min().item(), tensor.max().item()
        if not (low >= 0 and high <= 1):  # also true of NaN
            raise ImageReadError(f"expected floating-point values in [0, 1], got {low:.4g} to {high:.4g}")
        tensor = tensor.float().mul(255).round().to(torch.uint8)
    return from_values(tensor.reshape(-1, *tensor.shape[-2:]).permute(1, 2, 0).numpy(), channels, depth)


def is_deep(image: Image.Image) -> bool:
    """Whether the file of a picture, whose header alone was read, has more than 8 bits a channel."""
    tiles: list[Any] = image.tile if isinstance(image, ImageFile.ImageFile) else []
    raw = [tile.args if isinstance(tile.args, str) else tile.args[0] for tile in tiles if tile.args]
    return image.mode[0] in "IF" or any(";16" in str(one) for one in raw)


def low_bytes(image: Any) -> None:
    """Have Pillow, which keeps one byte of each value, keep the lower one of a PNG of 3 or 4 deep channels.

    Raises:
        ImageReadError: grey with alpha, whose low bytes Pillow does not give.
    """
    tile = image.tile[0]
    if tile.args == "LA;16B":
        raise ImageReadError("16 bits of grey with alpha have no range that can be chosen; save it without alpha")
    image.tile = [tile._replace(args=str(tile.args).replace("16B", "16L"))]


def read_npy(file: BinaryIO, limit: int | None) -> Values:
    """The array of a ``.npy`` file of at most ``limit`` pixels; nothing in it is executed."""
    shape, dtype = npy_header(file)
    _refuse_large(shape, limit)
    if dtype.hasobject:
        raise ImageReadError("holds Python objects, expected numbers")
    file.seek(0)
    array: Values = np.load(file, allow_pickle=False)
    return array


def npy_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array in a ``.npy`` file."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    return tuple(shape), dtype


def read_tiff(file: BinaryIO, channels: int | None, limit: int | None) -> tuple[Values, int]:
    """(H, W, C) of the first page of a TIFF, or of as many pages as there are channels; and its orientation.

    Raises:
        ImageReadError: the library for it is missing, or more than ``limit`` pixels.
    """
    with _open_tiff(file) as tiff:
        first: Any = tiff.pages[0]
        _refuse_large(first.shape, limit)
        tag = first.tags.get(274)
        turn = int(tag.value) if tag is not None else 1
        if first.samplesperpixel == 1 and len(tiff.pages) == channels and channels not in (1, 3):
            pages: list[Any] = list(tiff.pages)
            if any(page.shape != first.shape or page.dtype != first.dtype for page in pages):
                raise ImageReadError(f"{channels} pages of different sizes or types; expected one for each channel")
            return np.stack([page.asarray() for page in pages], axis=2), turn
        values: Values = first.asarray()
    if first.axes not in ("YX", "YXS", "SYX"):
        raise ImageReadError(f"its axes are {first.axes}; expected a picture of rows, columns and channels")
    return values.transpose(1, 2, 0) if first.axes == "SYX" else values, turn


def tiff_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape without alpha, type and orientation of the first page of a TIFF."""
    with _open_tiff(file) as tiff:
        page: Any = tiff.pages[0]
        tag = page.tags.get(274)
        alpha = sum(int(kind) in (1, 2) for kind in page.extrasamples)
        shape = (page.imagelength, page.imagewidth, page.samplesperpixel - alpha)
        return shape, np.dtype(page.dtype), int(tag.value) if tag is not None else 1


def _open_tiff(file: BinaryIO) -> Any:
    try:
        import tifffile
    except ImportError:
        raise ImageReadError(
            "a TIFF of more channels or bits than Pillow reads; pip install 'internimage[formats]'"
        ) from None
    return tifffile.TiffFile(file)


def _refuse_large(shape: Sequence[int], limit: int | None) -> None:
    """Raise :class:`ImageReadError` for arrays that would fill the memory."""
    sides = sorted(shape)[-2:]
    samples = int(np.prod(shape, dtype=object))
    if limit is not None and (samples > limit * MANY_SAMPLES or int(np.prod(sides, dtype=object)) > limit):
        height, width, *more = (*rows_first(tuple(shape)), 1)
        size = f"{width}x{height} pixels" + (f" of {more[0]} channels" if len(more) > 1 else "")
        most = max(int(np.prod(sides, dtype=object)), -(-samples // MANY_SAMPLES))
        raise ImageReadError(
            f"too large, {size} where Pillow's limit is {limit}; if you trust it, --max-pixels {most}, or in Python "
            f"PIL.Image.MAX_IMAGE_PIXELS = {most}"
        )
