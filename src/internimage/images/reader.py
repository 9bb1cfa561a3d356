"""The one reader: files, archive members, addresses, bytes, arrays and tensors become upright 8-bit RGB pictures."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from PIL import ExifTags, Image

from internimage.errors import ImageReadError
from internimage.images.lazy import BinaryFile, Frame, LazyPicture, read_whole
from internimage.images.libtiff import silence_libtiff
from internimage.images.members import ArchiveMember

if TYPE_CHECKING:
    import torch

Encoded: TypeAlias = "bytes | bytearray | memoryview | BinaryFile"
ImageInput: TypeAlias = (
    "str | Path | ArchiveMember | Encoded | LazyPicture | Image.Image | np.ndarray[Any, Any] | torch.Tensor"
)
ImageInputs: TypeAlias = "ImageInput | ImageSource | Iterable[ImageInputs]"

IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
# A list of our own, because some of Pillow's other readers have no signature to recognise a file by, and the
# one for EPS runs Ghostscript.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")

_URL_TIMEOUT = 30  # seconds without an answer
URL_MAX_BYTES = 100 * 2**20

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Modes with a stop on the way to RGB: Pillow cannot convert La and warns about palettes with alpha.
_VIA = {"La": "LA", "P": "RGBA"}


def read_image(source: ImageInput) -> Image.Image:
    """Read one picture as mode ``"RGB"``, 8 bits a channel, upright.

    Args:
        source: One of

            - a path, or an ``http(s)`` URL as a string (at most 100 MB, 30 s without an answer);
            - an :class:`ArchiveMember`, a file inside a tar or zip archive;
            - the bytes of an image file: JPEG, PNG, WebP, GIF, BMP, TIFF, PBM/PGM/PPM, AVIF or JPEG 2000, as
              ``bytes``, ``bytearray``, ``memoryview``, or a binary file object, which is read from its current
              position to its end (at most 1 GB) and stays open;
            - a PIL image of any mode but ``"F"``, which is left as it is;
            - a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) in **RGB** order (OpenCV's BGR arrays
              need ``array[..., ::-1]``);
            - a tensor (H, W), (1, H, W) or (3, H, W) in RGB order, uint8 or floating point in [0, 1].

    The orientation that EXIF gives is applied, from files and from PIL images; broken EXIF is ignored.  Of an
    animated file or one of several pages the first is read (:func:`internimage.images.read_pages` gives the others).
    Alpha is dropped and transparent pixels keep the colour that the
    file stores, as torchvision's ``ImageFolder`` and OpenCV do, so that numbers agree with published
    evaluations.  16-bit pixels lose their low byte (Pillow's own conversion would clip them to white); mode
    ``"I"`` counts as 16 bits.  Colour profiles are not applied.

    Returns:
        A new image that shares neither pixels nor an open file with ``source`` and carries no metadata.

    Raises:
        ImageReadError: The source is missing, broken, truncated, of a wrong type or shape, or has more pixels
            than ``PIL.Image.MAX_IMAGE_PIXELS`` (checked before decoding).  The message starts with its name.
    """
    if isinstance(source, str | Path | ArchiveMember):
        name = str(source)
    elif isinstance(source, bytes | bytearray | memoryview):
        name = f"image from {type(source).__name__}"
    else:
        name = f"image from {type(source).__module__.partition('.')[0]} {type(source).__name__}"
    return ImageSource(name, source).read()


@dataclass(frozen=True, eq=False)
class ImageSource:
    """A picture that has not been read yet.

    Attributes:
        name: The path or URL, or ``"image 3"`` for the third of several pictures in memory; of a frame or page, that
            of its file and its number: ``"clip.mp4#000012"``.
        value: What :func:`read_image` accepts.
        frame: Which frame or page of which file it is; ``None`` for a picture of its own.
    """

    name: str
    value: ImageInput
    frame: Frame | None = None

    def read(self) -> Image.Image:
        """Read the picture; see :func:`read_image`."""
        name = f"image from URL {self.name}" if is_url(self.value) else self.name
        try:
            return _read(self.value)
        except ImageReadError as error:
            raise ImageReadError(f"{name}: {error}") from error.__cause__
        except Image.DecompressionBombError as error:
            raise ImageReadError(f"{name}: too large, {error}") from error
        except Exception as error:  # on broken files Pillow raises about any type there is
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
            raise ImageReadError(f"{name}: cannot be read, {reason}") from error


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) of a picture as :func:`read_image` gives it, from its header.

    Raises:
        ImageReadError: it is no picture, or is not there.
    """
    return _header(path)[0]


def exif_turn(path: Path) -> int:
    """The EXIF orientation of a picture, from its header; 1 for upright ones and those without any.

    Raises:
        ImageReadError: it is no picture, or is not there.
    """
    return _header(path)[1]


def thumbnail(source: Path | ArchiveMember, side: int) -> Image.Image:
    """A picture, upright, squeezed into (side, side) as RGB; a JPEG is not decoded whole for it.

    Raises:
        ImageReadError: see :func:`read_image`.
    """
    try:
        with open_picture(source) as file:
            image = identify(file)
            if image.format in ("JPEG", "MPO") and not exceeds_pixel_limit(*image.size):
                image.draft("RGB", (2 * side, 2 * side))
            return _upright_rgb(image).resize((side, side), Image.Resampling.BOX)
    except ImageReadError as error:
        raise ImageReadError(f"{source}: {error}") from error.__cause__
    except Exception as error:  # on broken files Pillow raises about any type there is
        raise ImageReadError(f"{source}: cannot be read, {error or type(error).__name__}") from error


def _header(path: Path) -> tuple[tuple[int, int], int]:
    try:
        with open_picture(path) as file:
            image = identify(file)
            width, height = image.size
            try:
                turn = image.getexif().get(ExifTags.Base.Orientation, 1)
            except Exception:  # broken EXIF, any type: the pixels are good
                turn = 1
    except ImageReadError as error:
        raise ImageReadError(f"{path}: {error}") from error.__cause__
    except Exception as error:  # on broken files Pillow raises about any type there is
        raise ImageReadError(f"{path}: cannot be read, {error or type(error).__name__}") from error
    return ((height, width) if turn in (5, 6, 7, 8) else (width, height)), turn if turn in UPRIGHT else 1


def exceeds_pixel_limit(width: int, height: int) -> bool:
    """Whether a picture of this size is more than Pillow takes without a warning."""
    limit = Image.MAX_IMAGE_PIXELS
    return limit is not None and width * height > limit


def refuse_too_large(width: int, height: int) -> None:
    """Raise :class:`ImageReadError`, without a name, for a picture of more pixels than are read."""
    if exceeds_pixel_limit(width, height):
        raise ImageReadError(
            f"too large, {width}x{height} pixels where Pillow's limit is {Image.MAX_IMAGE_PIXELS}; if you trust it, "
            f"--max-pixels {width * height}, or in Python PIL.Image.MAX_IMAGE_PIXELS = {width * height}"
        )


def is_url(source: object) -> bool:
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def _read(source: ImageInput) -> Image.Image:
    """``read_image`` with errors that do not yet say the name."""
    if isinstance(source, Image.Image):
        return _upright_rgb(source)
    if isinstance(source, np.ndarray):
        return _upright_rgb(_from_array(source))
    if isinstance(source, LazyPicture):
        return _upright_rgb(source.load())
    if isinstance(source, str | Path | ArchiveMember | bytes | bytearray | memoryview | BinaryFile):
        with open_picture(source) as file:
            return _upright_rgb(identify(file))
    import torch

    if isinstance(source, torch.Tensor):
        return _upright_rgb(_from_tensor(source))
    kind = type(source).__name__
    raise ImageReadError(f"expected a path, URL, bytes, file object, PIL image, array or tensor, got {kind}")


def open_picture(source: str | Path | ArchiveMember | Encoded) -> BinaryIO:
    """The bytes of a picture as a file at its beginning; errors do not yet say the name."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if isinstance(source, ArchiveMember):
        return io.BytesIO(source.read_bytes())
    if isinstance(source, BinaryFile):
        return io.BytesIO(read_whole(source))
    if isinstance(source, str) and is_url(source):
        return io.BytesIO(_download(source))
    path = Path(source)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise ImageReadError("a video, expected an image file; internimage.images.read_video gives its frames")
    return open_file(path, "an image file")


def open_file(path: Path, expected: str) -> BinaryIO:
    """A file that is there; errors do not yet say the name."""
    if path.is_dir():
        raise ImageReadError(f"this is a folder, expected {expected}")
    if not path.exists():
        raise ImageReadError("no such file")
    if not path.is_file():  # opening a pipe would wait for ever
        raise ImageReadError("not a regular file")
    return path.open("rb")


def _download(url: str) -> bytes:
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "internimage"})
        with urllib.request.urlopen(request, timeout=_URL_TIMEOUT) as response:
            data: bytes = response.read(URL_MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise ImageReadError(f"cannot be downloaded, the server says {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise ImageReadError(f"cannot be downloaded, {error.reason}") from error
    except Exception as error:  # OSError, http.client.HTTPException, ValueError from odd addresses
        raise ImageReadError(f"cannot be downloaded, {error}") from error
    if len(data) > URL_MAX_BYTES:
        raise ImageReadError(f"too large, more than {URL_MAX_BYTES // 2**20} MB")
    return data


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


def _upright_rgb(image: Image.Image) -> Image.Image:
    width, height = image.size
    refuse_too_large(width, height)
    if not width * height:
        raise ImageReadError(f"no pixels, its size is {width}x{height}")
    image.load()
    transpose = _transpose_of(image)
    if image.mode.startswith("I"):
        image = _high_byte(image)
    elif image.mode == "F":
        raise ImageReadError("floating-point pixels of unknown range, expected 8 or 16 bits")
    elif image.mode in _VIA:
        image = image.convert(_VIA[image.mode])
    image = image.convert("RGB")  # copies where the mode is RGB already
    if transpose is not None:
        image = image.transpose(transpose)
    image.info = {}  # an EXIF orientation left here would be applied again by the next reader
    return image


def _transpose_of(image: Image.Image) -> Image.Transpose | None:
    try:
        return UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken EXIF, any type: the pixels are good
        return None


def _high_byte(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if low < 0 or high > 0xFFFF:
        raise ImageReadError(f"pixel values from {low} to {high}, expected 8 or 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _from_array(array: np.ndarray[Any, Any]) -> Image.Image:
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not shaped or not array.size or array.dtype != np.uint8:
        raise ImageReadError(
            "expected a uint8 array of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), "
            f"got {array.dtype} {array.shape}"
        )
    return Image.fromarray(array[:, :, 0] if array.shape[2:] == (1,) else array)


def _from_tensor(tensor: torch.Tensor) -> Image.Image:
    import torch

    shaped = tensor.ndim == 2 or (tensor.ndim == 3 and tensor.shape[0] in (1, 3))
    if not shaped or not tensor.numel() or not (tensor.dtype == torch.uint8 or tensor.is_floating_point()):
        raise ImageReadError(
            "expected a uint8 or floating-point tensor of shape (H, W), (1, H, W) or (3, H, W), "
            f"got {tensor.dtype} {tuple(tensor.shape)}"
        )
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        low, high = tensor.min().item(), tensor.max().item()
        if not (low >= 0 and high <= 1):  # also true of NaN
            raise ImageReadError(f"expected floating-point values in [0, 1], got {low:.4g} to {high:.4g}")
        tensor = tensor.float().mul(255).round().to(torch.uint8)
    return _from_array(tensor.reshape(-1, *tensor.shape[-2:]).permute(1, 2, 0).numpy())
