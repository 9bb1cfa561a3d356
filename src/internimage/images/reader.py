"""The one reader: files, archive members, addresses, bytes, arrays and tensors become upright 8-bit RGB pictures."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, overload

import numpy as np
from PIL import Image

from internimage.errors import ImageReadError
from internimage.images.channels import AnyImage, from_tensor, from_values
from internimage.images.decoding import LOOKING, Header, decode, decode_header, decode_small, refuse_size, upright
from internimage.images.lazy import BinaryFile, Frame, LazyPicture, read_whole
from internimage.images.members import Member
from internimage.settings.depth import WHOLE, Depth

if TYPE_CHECKING:
    import torch

Encoded: TypeAlias = "bytes | bytearray | memoryview | BinaryFile"
ImageInput: TypeAlias = (
    "str | Path | Member | Encoded | LazyPicture | Image.Image | np.ndarray[Any, Any] | torch.Tensor"
)
ImageInputs: TypeAlias = "ImageInput | ImageSource | Iterable[ImageInputs]"

IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo"),
    *(".npy", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
_URL_TIMEOUT = 30  # seconds without an answer
URL_MAX_BYTES = 100 * 2**20


@overload
def read_image(source: ImageInput, channels: Literal[1, 3] = 3, depth: Depth = ...) -> Image.Image: ...
@overload
def read_image(source: ImageInput, channels: int, depth: Depth = ...) -> AnyImage: ...
def read_image(source: ImageInput, channels: int = 3, depth: Depth = WHOLE) -> AnyImage:
    """Read one picture, upright, 8 bits a channel: mode ``"RGB"``, of one channel ``"L"``.

    Args:
        source: One of

            - a path, or an ``http(s)`` URL as a string (at most 100 MB, 30 s without an answer);
            - an :class:`ArchiveMember`, a file inside a tar or zip archive, or a :class:`MatlabArray`, a picture inside
              a MATLAB file (``internimage[formats]``);
            - the bytes of an image file: JPEG, PNG, WebP, GIF, BMP, TIFF, PBM/PGM/PPM, AVIF, JPEG 2000 or NumPy's
              .npy, as ``bytes``, ``bytearray``, ``memoryview``, or a binary file object, which is read from its
              current position to its end (at most 1 GB) and stays open;
            - a PIL image of any mode but ``"F"``, which is left as it is;
            - an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) in **RGB** order (OpenCV's BGR arrays need
              ``array[..., ::-1]``), for C ``channels`` (H, W, C) or (C, H, W); uint8, or deep as a file's pixels;
            - a tensor (H, W), (1, H, W) or (3, H, W) in RGB order, uint8 or floating point in [0, 1].
        channels: 3 makes RGB of everything, 1 grey; of any other number the picture must have just so many: a TIFF
            (``internimage[formats]``; a page for each channel, too), an array, PNG's RGBA for 4.  It is then a
            :class:`internimage.images.channels.Bands`.
        depth: how pixels of more than 8 bits become 8 bits.

    The orientation that EXIF gives is applied, from files and from PIL images; broken EXIF is ignored.  Of an
    animated file or one of several pages the first is read (:func:`internimage.images.read_pages` gives the others).
    Alpha is dropped and transparent pixels keep the colour that the
    file stores, as torchvision's ``ImageFolder`` and OpenCV do, so that numbers agree with published
    evaluations.  16-bit pixels lose their low byte unless ``depth`` says otherwise (Pillow's own conversion would
    clip them to white); mode ``"I"`` counts as 16 bits.  Colour profiles are not applied.

    Returns:
        A new image that shares neither pixels nor an open file with ``source`` and carries no metadata.

    Raises:
        ImageReadError: The source is missing, broken, truncated, of a wrong type or shape, or has more pixels
            than ``PIL.Image.MAX_IMAGE_PIXELS`` (checked before decoding).  The message starts with its name.
    """
    if isinstance(source, str | Path | Member):
        name = str(source)
    elif isinstance(source, bytes | bytearray | memoryview):
        name = f"image from {type(source).__name__}"
    else:
        name = f"image from {type(source).__module__.partition('.')[0]} {type(source).__name__}"
    return ImageSource(name, source).read(channels, depth)


def show_image(source: str | Path | Member) -> Image.Image:
    """A picture as RGB for people to look at: the first three of many channels, deep ones made bright.

    Raises:
        ImageReadError: see :func:`read_image`.
    """
    return ImageSource(str(source), source).show()


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

    @overload
    def read(self, channels: Literal[1, 3] = 3, depth: Depth = ...) -> Image.Image: ...
    @overload
    def read(self, channels: int, depth: Depth = ...) -> AnyImage: ...
    def read(self, channels: int = 3, depth: Depth = WHOLE) -> AnyImage:
        """Read the picture; see :func:`read_image`."""
        return self._read(channels, depth)

    def show(self) -> Image.Image:
        """Read the picture for people to look at; see :func:`show_image`."""
        shown = self._read(None, LOOKING)
        assert isinstance(shown, Image.Image)
        return shown

    def _read(self, channels: int | None, depth: Depth) -> AnyImage:
        name = f"image from URL {self.name}" if is_url(self.value) else self.name
        try:
            return _read(self.value, channels, depth)
        except ImageReadError as error:
            raise type(error)(f"{name}: {error}") from error.__cause__
        except Image.DecompressionBombError as error:
            raise ImageReadError(f"{name}: too large, {error}") from error
        except Exception as error:  # on broken files Pillow raises about any type there is
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
            raise ImageReadError(f"{name}: cannot be read, {reason}") from error


def picture_size(path: Path | Member) -> tuple[int, int]:
    """(width, height) of a picture as :func:`read_image` gives it, from its header.

    Raises:
        ImageReadError: it is no picture, or is not there.
    """
    return read_header(path).size


def exif_turn(path: Path) -> int:
    """The EXIF orientation of a picture, from its header; 1 for upright ones and those without any.

    Raises:
        ImageReadError: it is no picture, or is not there.
    """
    return read_header(path).turn


def thumbnail(source: Path | Member, side: int) -> Image.Image:
    """A picture, upright, squeezed into (side, side) as RGB; a JPEG is not decoded whole for it.

    Raises:
        ImageReadError: see :func:`read_image`.
    """
    try:
        with open_picture(source) as file:
            return decode_small(file, side)
    except ImageReadError as error:
        raise ImageReadError(f"{source}: {error}") from error.__cause__
    except Exception as error:  # on broken files Pillow raises about any type there is
        raise ImageReadError(f"{source}: cannot be read, {error or type(error).__name__}") from error


def read_header(path: Path | Member) -> Header:
    """The header of a picture.

    Raises:
        ImageReadError: it is no picture, or is not there.
    """
    try:
        with open_picture(path) as file:
            return decode_header(file)
    except ImageReadError as error:
        raise ImageReadError(f"{path}: {error}") from error.__cause__
    except Exception as error:  # on broken files Pillow raises about any type there is
        raise ImageReadError(f"{path}: cannot be read, {error or type(error).__name__}") from error


def is_url(source: object) -> bool:
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def _read(source: ImageInput, channels: int | None, depth: Depth) -> AnyImage:
    """``read_image`` with errors that do not yet say the name."""
    if isinstance(source, Image.Image):
        return upright(source, channels, depth)
    if isinstance(source, np.ndarray):
        return _within_limit(from_values(source, channels, depth))
    if isinstance(source, LazyPicture):
        return upright(source.load(), channels, depth)
    if isinstance(source, str | Path | Member | bytes | bytearray | memoryview | BinaryFile):
        with open_picture(source) as file:
            return decode(file, channels, depth)
    import torch

    if isinstance(source, torch.Tensor):
        return _within_limit(from_tensor(source, channels, depth))
    kind = type(source).__name__
    raise ImageReadError(f"expected a path, URL, bytes, file object, PIL image, array or tensor, got {kind}")


def _within_limit(picture: AnyImage) -> AnyImage:
    refuse_size(*picture.size)
    return picture


def open_picture(source: str | Path | Member | Encoded) -> BinaryIO:
    """The bytes of a picture as a file at its beginning; errors do not yet say the name."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if isinstance(source, Member):
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
