"""The one reader: files, archive members, addresses, bytes, arrays and tensors become upright 8-bit RGB pictures."""

from __future__ import annotations

import glob
import io
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, overload

import numpy as np
from PIL import Image

from internimage.errors import ImageReadError
from internimage.images.channels import AnyImage, from_tensor, from_values
from internimage.images.decoding import LOOKING, Header, decode, decode_header, decode_small, refuse_size, upright
from internimage.images.members import ArchiveMember
from internimage.settings.depth import WHOLE, Depth

if TYPE_CHECKING:
    import torch

ImageInput: TypeAlias = "str | Path | ArchiveMember | bytes | Image.Image | np.ndarray[Any, Any] | torch.Tensor"
ImageInputs: TypeAlias = "ImageInput | ImageSource | Sequence[ImageInputs]"

IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo"),
    *(".npy", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
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
            - an :class:`ArchiveMember`, a file inside a tar or zip archive;
            - the bytes of an image file: JPEG, PNG, WebP, GIF, BMP, TIFF, PBM/PGM/PPM, AVIF, JPEG 2000 or NumPy's
              .npy;
            - a PIL image of any mode but ``"F"``, which is left as it is;
            - an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) in **RGB** order (OpenCV's BGR arrays need
              ``array[..., ::-1]``), for C ``channels`` (H, W, C) or (C, H, W); uint8, or deep as a file's pixels;
            - a tensor (H, W), (1, H, W) or (3, H, W) in RGB order, uint8 or floating point in [0, 1].
        channels: 3 makes RGB of everything, 1 grey; of any other number the picture must have just so many: a TIFF
            (``internimage[formats]``; a page for each channel, too), an array, PNG's RGBA for 4.  It is then a
            :class:`internimage.images.channels.Bands`.
        depth: how pixels of more than 8 bits become 8 bits.

    The orientation that EXIF gives is applied, from files and from PIL images; broken EXIF is ignored.  Of an
    animated file the first frame is read.  Alpha is dropped and transparent pixels keep the colour that the
    file stores, as torchvision's ``ImageFolder`` and OpenCV do, so that numbers agree with published
    evaluations.  16-bit pixels lose their low byte unless ``depth`` says otherwise (Pillow's own conversion would
    clip them to white); mode ``"I"`` counts as 16 bits.  Colour profiles are not applied.

    Returns:
        A new image that shares neither pixels nor an open file with ``source`` and carries no metadata.

    Raises:
        ImageReadError: The source is missing, broken, truncated, of a wrong type or shape, or has more pixels
            than ``PIL.Image.MAX_IMAGE_PIXELS`` (checked before decoding).  The message starts with its name.
    """
    if isinstance(source, bytes):
        name = "image from bytes"
    elif isinstance(source, str | Path | ArchiveMember):
        name = str(source)
    else:
        name = f"image from {type(source).__module__.partition('.')[0]} {type(source).__name__}"
    return ImageSource(name, source).read(channels, depth)


def show_image(source: str | Path | ArchiveMember) -> Image.Image:
    """A picture as RGB for people to look at: the first three of many channels, deep ones made bright.

    Raises:
        ImageReadError: see :func:`read_image`.
    """
    return ImageSource(str(source), source).show()


@dataclass(frozen=True, eq=False)
class ImageSource:
    """A picture that has not been read yet.

    Attributes:
        name: The path or URL, or ``"image 3"`` for the third of several pictures in memory.
        value: What :func:`read_image` accepts.
    """

    name: str
    value: ImageInput

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
        name = f"image from URL {self.name}" if _is_url(self.value) else self.name
        try:
            return _read(self.value, channels, depth)
        except ImageReadError as error:
            raise ImageReadError(f"{name}: {error}") from error.__cause__
        except Image.DecompressionBombError as error:
            raise ImageReadError(f"{name}: too large, {error}") from error
        except Exception as error:  # on broken files Pillow raises about any type there is
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
            raise ImageReadError(f"{name}: cannot be read, {reason}") from error


def list_images(source: ImageInputs) -> list[ImageSource]:
    """List the pictures that ``source`` stands for, without reading them.

    Args:
        source: What :func:`read_image` accepts, or

            - a folder: the files below it with one of ``IMAGE_SUFFIXES`` in any case, not hidden, sorted;
            - a glob pattern as a string, ``**`` included: the files that match, of any suffix, sorted;
            - an :class:`ImageSource`, which stays as it is;
            - a batch: a tensor (N, C, H, W) or an array (N, H, W, C) is N pictures;
            - a list or tuple of any of these, in order.

    A missing file is listed: reading it is what fails, so that a long run can report it and go on.

    Raises:
        ImageReadError: A folder holds no pictures, or nothing matches a pattern.
    """
    return [
        value
        if isinstance(value, ImageSource)
        else ImageSource(str(value) if isinstance(value, str | Path | ArchiveMember) else f"image {number}", value)
        for number, value in enumerate(_expand(source), start=1)
    ]


def picture_size(path: Path) -> tuple[int, int]:
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


def thumbnail(source: Path | ArchiveMember, side: int) -> Image.Image:
    """A picture, upright, squeezed into (side, side) as RGB; a JPEG is not decoded whole for it.

    Raises:
        ImageReadError: see :func:`read_image`.
    """
    try:
        with _open(source) as file:
            return decode_small(file, side)
    except ImageReadError as error:
        raise ImageReadError(f"{source}: {error}") from error.__cause__
    except Exception as error:  # on broken files Pillow raises about any type there is
        raise ImageReadError(f"{source}: cannot be read, {error or type(error).__name__}") from error


def read_header(path: Path | ArchiveMember) -> Header:
    """The header of a picture.

    Raises:
        ImageReadError: it is no picture, or is not there.
    """
    try:
        with _open(path) as file:
            return decode_header(file)
    except ImageReadError as error:
        raise ImageReadError(f"{path}: {error}") from error.__cause__
    except Exception as error:  # on broken files Pillow raises about any type there is
        raise ImageReadError(f"{path}: cannot be read, {error or type(error).__name__}") from error


def _expand(source: ImageInputs) -> Iterator[ImageInput | ImageSource]:
    if isinstance(source, list | tuple):
        for item in source:
            yield from _expand(item)
    elif isinstance(source, str | Path) and not _is_url(source):
        yield from _expand_path(source)
    elif getattr(source, "ndim", 0) == 4:
        yield from source  # type: ignore[misc]  # mypy does not see that only arrays and tensors get here
    else:
        yield source  # type: ignore[misc]


def _expand_path(source: str | Path) -> Sequence[str | Path]:
    if not str(source):
        raise ImageReadError("an empty name; expected a file, a folder or a pattern")
    path = Path(source)
    try:
        if path.is_dir():
            images = sorted(p for p in path.rglob("*") if _is_listed(p, path))
            if not images:
                raise ImageReadError(f"{source}: no images in this folder ({' '.join(IMAGE_SUFFIXES)})")
            return images
        if isinstance(source, str) and any(c in source for c in "*?[") and not path.exists():
            found = glob.glob(source, recursive=True)  # noqa: PTH207  Path.glob takes no absolute patterns
            matches = sorted(p for p in map(Path, found) if not p.is_dir())
            if not matches:
                raise ImageReadError(f"{source}: no file matches this pattern")
            return matches
    except OSError:  # a name that no file can have: reading it says what is wrong
        pass
    return [source]


def _is_listed(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()


def _is_url(source: object) -> bool:
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def _read(source: ImageInput, channels: int | None, depth: Depth) -> AnyImage:
    """``read_image`` with errors that do not yet say the name."""
    if isinstance(source, Image.Image):
        return upright(source, channels, depth)
    if isinstance(source, np.ndarray):
        return _within_limit(from_values(source, channels, depth))
    if isinstance(source, str | Path | ArchiveMember | bytes):
        with _open(source) as file:
            return decode(file, channels, depth)
    import torch

    if isinstance(source, torch.Tensor):
        return _within_limit(from_tensor(source, channels, depth))
    raise ImageReadError(f"expected a path, URL, bytes, PIL image, array or tensor, got {type(source).__name__}")


def _within_limit(picture: AnyImage) -> AnyImage:
    refuse_size(*picture.size)
    return picture


def _open(source: str | Path | ArchiveMember | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if isinstance(source, ArchiveMember):
        return io.BytesIO(source.read_bytes())
    if isinstance(source, str) and _is_url(source):
        return io.BytesIO(_download(source))
    path = Path(source)
    if path.is_dir():
        raise ImageReadError("this is a folder, expected an image file")
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
