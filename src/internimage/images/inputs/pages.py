"""Files of several pages, and animations: TIFF, GIF, PNG, WebP, AVIF."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from PIL import ExifTags, Image

from internimage.errors import ConfigError, ImageReadError
from internimage.images.decoding import identify, refuse_too_large
from internimage.images.lazy import BinaryFile, Frame, Unreadable
from internimage.images.members import Member
from internimage.images.reader import Encoded, ImageSource, open_picture

PageFile: TypeAlias = "str | Path | Member | Encoded"

_ANIMATIONS = ("GIF", "PNG", "WEBP", "AVIF")
_SUBFILE_TYPE, _NO_PAGE = 254, 0b101  # tag of TIFF; its bits for a smaller copy and for a mask of another page
_NAMED = 3


def read_pages(path: PageFile | ImageSource, every: int = 1) -> Iterator[ImageSource]:
    """The pages of a TIFF, or the frames of an animated GIF, PNG, WebP or AVIF, in order, one after the other.

    A page is called ``"scan.tif#000002"`` and knows its number, counted from 1 (:attr:`ImageSource.frame`).  Smaller
    copies of pages, as maps and slides have them, are left out; so are the second pictures in JPEG files of phones.
    Other pictures have one page.  A page that is kept, as a result keeps its source, stays in memory.

    Where the file is damaged, the pages before are given, then one whose reading is the error.

    Args:
        path: a file, a file in an archive, bytes, or a binary file object, which is read from its current position to
            its end when the first page is asked for, and stays open.
        every: give each ``every``-th page, from the first one on.

    Raises:
        ConfigError: ``every`` is less than 1.
    """
    if every < 1:
        raise ConfigError(f"every is {every}; expected 1 or more")
    if isinstance(path, ImageSource):
        return _pages(path, every)
    named = isinstance(path, str | Path | Member)
    return _pages(ImageSource(str(path) if named else f"image from {type(path).__name__}", path), every)


def has_several_pages(source: ImageSource, channels: int = 3) -> bool:
    """Whether there are pages beyond the first one, which is read, by the headers of a file that lies here.

    A TIFF of as many pages as the ``channels`` that are read, neither one nor three, has none: they are its channels.
    """
    if not isinstance(source.value, Path | Member | str) or "://" in source.name:
        return False
    try:
        with open_picture(source.value) as file:
            image: Any = identify(file)
            if image.format in _ANIMATIONS:
                return bool(image.is_animated)
            pages = sum(1 for _ in itertools.islice(_numbers(image), channels + 1))
            return pages > 1 and (pages != channels or channels in (1, 3))
    except Exception:  # of broken files, any type; reading it says what is wrong
        return False


def first_pages_note(names: Sequence[str]) -> str:
    """That of these files only the first page was read."""
    what = "1 file has" if len(names) == 1 else f"{len(names)} files have"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{what} several pages or frames, of which the first is read: {', '.join(names[:_NAMED])}{more}"


def _pages(source: ImageSource, every: int) -> Iterator[ImageSource]:
    number = 0
    try:
        if not isinstance(source.value, str | Path | Member | bytes | bytearray | memoryview | BinaryFile):
            kind = type(source.value).__name__
            raise ImageReadError(f"expected the path of a file, bytes or a file object, got {kind}")
        with open_picture(source.value) as file:
            image = identify(file)
            for number in _numbers(image):
                if (number - 1) % every == 0:
                    yield ImageSource(f"{source.name}#{number:06d}", _page(image), Frame(source, number))
    except Exception as error:  # on broken files Pillow raises about any type there is
        known = error if isinstance(error, ImageReadError) else ImageReadError(f"cannot be read, {error}")
        name = f"{source.name}#{number:06d}" if number else source.name
        yield ImageSource(name, Unreadable(known), Frame(source, number))


def _numbers(image: Any) -> Iterator[int]:
    """Numbers of the pages, each when the picture is at it."""
    yield 1
    if image.format not in ("TIFF", *_ANIMATIONS):
        return
    number = 1
    for index in itertools.count(1):
        try:
            image.seek(index)
        except EOFError:
            return
        if image.format != "TIFF" or not image.tag_v2.get(_SUBFILE_TYPE, 0) & _NO_PAGE:
            number += 1
            yield number


def _page(image: Image.Image) -> Image.Image:
    """A copy of the page that a file is at, with its orientation."""
    refuse_too_large(*image.size)
    page = image.copy()
    with contextlib.suppress(Exception):  # broken EXIF, any type: the pixels are good
        page.getexif()[ExifTags.Base.Orientation] = image.getexif()[ExifTags.Base.Orientation]
    return page
