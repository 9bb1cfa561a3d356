"""From the bytes of a file to an upright picture: which format, which mode, how large, which way up."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image

from internimage.errors import ImageReadError
from internimage.images.channels import (
    AnyImage,
    from_values,
    is_deep,
    low_bytes,
    npy_header,
    read_npy,
    read_tiff,
    rows_first,
    tiff_header,
)
from internimage.images.libtiff import silence_libtiff
from internimage.settings.depth import WHOLE, Depth

# A list of our own, because some of Pillow's other readers have no signature to recognise a file by, and the
# one for EPS runs Ghostscript.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")

_NPY = b"\x93NUMPY"
# How people look at pictures: the darkest and the brightest hundredth of deep pixels are cut off.
LOOKING = Depth(percentiles=(1, 99))
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS, _PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA = 258, 262, 277, 284, 338  # tags of TIFF
_ALPHA = (1, 2)  # kinds of extra samples
# Modes with a stop on the way to RGB: Pillow cannot convert La and warns about palettes with alpha.
_VIA = {"La": "LA", "P": "RGBA"}


@dataclass(frozen=True)
class Header:
    """What is known of a picture before its pixels are read.

    Attributes:
        size: (width, height) as :func:`read_image` gives it.
        turn: EXIF orientation, 1 for upright.
        deep: whether it has more than 8 bits a channel.
        floating: whether its values are floating-point numbers.
        channels: how many there are where they are neither grey nor RGB, with or without alpha; 3 for all others.
    """

    size: tuple[int, int]
    turn: int = 1
    deep: bool = False
    floating: bool = False
    channels: int = 3


def decode(file: BinaryIO, channels: int | None, depth: Depth) -> AnyImage:
    """The picture in a file; see :func:`internimage.images.channels.from_values` for ``channels`` None."""
    if _is_npy(file):
        return from_values(read_npy(file, Image.MAX_IMAGE_PIXELS), channels, depth)
    image = _known_to_pillow(file)
    plain, chosen = channels in (1, 3, None), depth != WHOLE
    clipped = image is not None and chosen and is_deep(image) and image.mode[0] not in "IF"
    if image is None or (image.format == "TIFF" and (clipped or not plain or _in_deep_planes(image))):
        file.seek(0)
        values, turn = read_tiff(file, channels, Image.MAX_IMAGE_PIXELS)
        picture = from_values(values, channels, depth)
        return picture.transpose(UPRIGHT[turn]) if turn in UPRIGHT else picture
    low = None
    if clipped and image.format == "PNG":
        file.seek(0)
        low = identify(io.BytesIO(file.read()))
        file.seek(0)
        image = identify(file)
    return upright(image, channels, depth, low)


def _in_deep_planes(image: Any) -> bool:
    """Whether a TIFF has its deep channels one after the other, which Pillow mixes up."""
    return image.tag_v2.get(_PLANES) == 2 and max(image.tag_v2.get(_BITS, (1,))) > 8


def _channels_of_tiff(image: Any) -> int:
    """As in :class:`Header`: a fourth sample that is not said to be alpha is a channel, whatever Pillow makes of it."""
    tags = image.tag_v2
    samples, extra = tags.get(_SAMPLES, 1), tags.get(_EXTRA, ())
    usual = {0: 1, 1: 1, 2: 3}.get(tags.get(_PHOTOMETRIC, 1), samples)
    own = samples - sum(kind in _ALPHA for kind in extra)
    return 3 if own <= usual else own


def decode_header(file: BinaryIO) -> Header:
    """What the header of a file says."""
    if _is_npy(file):
        shape, dtype = npy_header(file)
        return _array_header(shape, dtype, 1)
    image = _known_to_pillow(file)
    if image is None:
        return _array_header(*tiff_header(file))
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF, any type: the pixels are good
        turn = 1
    deep = is_deep(image) or (image.format == "TIFF" and _in_deep_planes(image))
    channels = _channels_of_tiff(image) if image.format == "TIFF" else 3
    return _turned(Header(image.size, turn, deep, image.mode == "F", channels))


def decode_small(file: BinaryIO, side: int) -> Image.Image:
    """The picture in a file squeezed into (side, side), as people see it; a JPEG is not decoded whole for it."""
    image = None if _is_npy(file) else _known_to_pillow(file)
    if image is not None and image.format in ("JPEG", "MPO") and not exceeds_pixel_limit(*image.size):
        image.draft("RGB", (2 * side, 2 * side))
        picture = upright(image, None, WHOLE)
    else:
        file.seek(0)
        picture = decode(file, None, LOOKING)
    resized = picture.resize((side, side), Image.Resampling.BOX)
    assert isinstance(resized, Image.Image)
    return resized


def _is_npy(file: BinaryIO) -> bool:
    start = file.read(len(_NPY))
    file.seek(0)
    return start == _NPY


def _known_to_pillow(file: BinaryIO) -> Image.Image | None:
    """The picture, whose header alone was read; None for a TIFF of more channels or bits than Pillow knows."""
    try:
        return identify(file)
    except SyntaxError:
        file.seek(0)
        if file.read(4) not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise
        file.seek(0)
        return None


def identify(file: BinaryIO) -> Image.Image:
    """Read the header, as ``Image.open`` does.

    ``Image.open`` checks the size as well, but answers with a warning that only a change to process-wide
    filters could silence, hides the size in its error, and hides why a file is broken.
    """
    prefix = file.read(16)
    if not prefix:
        raise ImageReadError("empty, 0 bytes")
    Image.init()
    for name in _FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory and accept and accept(prefix) is True:
            file.seek(0)
            if name == "TIFF":
                silence_libtiff()
            return factory(file, "")
    raise ImageReadError(f"not an image in a known format ({', '.join(_FORMATS)})")


def upright(image: Image.Image, channels: int | None, depth: Depth, low: Image.Image | None = None) -> AnyImage:
    """A picture as :func:`read_image` gives it; ``low`` has the low bytes of the deep channels of ``image``."""
    refuse_size(*image.size)
    if low is None and depth != WHOLE and is_deep(image) and image.mode[0] not in "IF":
        raise ImageReadError("Pillow keeps 8 bits of its channels; give a PNG or TIFF file to choose their range")
    image.load()
    transpose = _transpose_of(image)
    picture: AnyImage
    if low is not None:
        low_bytes(low)
        picture = from_values(np.asarray(image).astype(np.uint16) << 8 | np.asarray(low), channels, depth)
    elif image.mode[0] in "IF" or channels not in (1, 3, None):
        picture = from_values(np.asarray(image), channels, depth)
    elif channels == 1 and image.mode in ("1", "L", "LA"):
        picture = image.convert("L")
    else:
        picture = (image.convert(_VIA[image.mode]) if image.mode in _VIA else image).convert("RGB")
        picture = picture.convert("L") if channels == 1 else picture
    if transpose is not None:
        picture = picture.transpose(transpose)
    if isinstance(picture, Image.Image):
        picture.info = {}  # an EXIF orientation left here would be applied again by the next reader
    return picture


def refuse_size(width: int, height: int) -> None:
    """Raise :class:`ImageReadError`, without a name, for pictures that are too large, or empty."""
    refuse_too_large(width, height)
    if not width * height:
        raise ImageReadError(f"no pixels, its size is {width}x{height}")


def refuse_too_large(width: int, height: int) -> None:
    """Raise :class:`ImageReadError`, without a name, for a picture of more pixels than are read."""
    if exceeds_pixel_limit(width, height):
        raise ImageReadError(
            f"too large, {width}x{height} pixels where Pillow's limit is {Image.MAX_IMAGE_PIXELS}; if you trust it, "
            f"--max-pixels {width * height}, or in Python PIL.Image.MAX_IMAGE_PIXELS = {width * height}"
        )


def _transpose_of(image: Image.Image) -> Image.Transpose | None:
    try:
        return UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken EXIF, any type: the pixels are good
        return None


def _array_header(shape: tuple[int, ...], dtype: np.dtype[Any], turn: int) -> Header:
    height, width, channels = (*shape, 1) if len(shape) == 2 else rows_first(shape)
    deep = dtype.itemsize > 1
    return _turned(Header((width, height), turn, deep, dtype.kind == "f", 3 if channels == 1 else channels))


def _turned(header: Header) -> Header:
    width, height = header.size
    turn = header.turn if header.turn in UPRIGHT else 1
    return replace(header, size=(height, width) if turn in (5, 6, 7, 8) else (width, height), turn=turn)


def exceeds_pixel_limit(width: int, height: int) -> bool:
    """Whether a picture of this size is more than Pillow takes without a warning."""
    limit = Image.MAX_IMAGE_PIXELS
    return limit is not None and width * height > limit
