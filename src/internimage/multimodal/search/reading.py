"""Which files an album has, and what is in them: pictures with their times, frames of videos."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from PIL import ExifTags, Image

from internimage.errors import ConfigError, ImageReadError
from internimage.images import IMAGE_SUFFIXES, ImageSource, list_images, read_video
from internimage.images.decoding import identify
from internimage.images.reader import VIDEO_SUFFIXES, is_url, open_picture
from internimage.multimodal.search.entries import Entry, Stamp, clean_path

_EXIF_TIME = "%Y:%m:%d %H:%M:%S"


def list_files(sources: Sequence[str | Path]) -> list[str]:
    """Pictures and videos that are meant, each once: of folders all below that are not hidden, sorted.

    Args:
        sources: files, folders, and patterns as :func:`internimage.images.list_images` takes them.

    Returns:
        Paths as :func:`internimage.multimodal.search.entries.clean_path` gives them.

    Raises:
        ImageReadError: a folder holds neither pictures nor videos, or nothing matches a pattern.
        ConfigError: an address, which is no file.
    """
    files: list[str] = []
    for source in sources:
        if is_url(source):
            raise ConfigError(f"{source} is an address; an album has files: download the picture first")
        folder = Path(source)
        if not folder.is_dir():
            files += [one.name for one in list_images(source)]
            continue
        suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
        found = sorted(str(path) for path in folder.rglob("*") if _is_meant(path, folder, suffixes))
        if not found:
            raise ImageReadError(f"{source}: no pictures and no videos in this folder ({' '.join(suffixes)})")
        files += found
    return list(dict.fromkeys(map(clean_path, files)))


def is_video_file(path: str) -> bool:
    """Whether a path is a video's, by its suffix."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def vanished(known: Iterable[str], listed: Sequence[str], sources: Sequence[str | Path]) -> list[str]:
    """Of the known files those that belong to the sources, by name or by folder, and are not there any more."""
    folders = tuple(clean_path(one).rstrip("/") + "/" for one in sources if Path(one).is_dir())
    here = set(listed)
    return sorted(path for path in known if (path in here or path.startswith(folders)) and not Path(path).exists())


def read_picture(path: str) -> tuple[Image.Image, Entry]:
    """A picture, upright RGB, with its entry.

    Raises:
        ImageReadError: it cannot be read.
    """
    about = _about(path)
    picture = ImageSource(path, Path(path)).read()
    return picture, Entry(path, "picture", *about, *picture.size)


def read_frames(path: str, seconds: float) -> Iterator[tuple[Image.Image, Entry]]:
    """A frame of a video every so many seconds, the first one at 0, each with its entry.

    Raises:
        ImageReadError: the video cannot be read, from here on.
        MissingExtraError: PyAV is not installed.
    """
    about = _about(path)
    due = 0
    for source in read_video(path):
        time = None if source.frame is None else source.frame.time
        if time is None or time >= due * seconds:
            picture = source.read()  # where the video breaks off, this is the error
            assert time is not None
            yield picture, Entry(path, "frame", *about, *picture.size, second=round(time, 3))
            due = math.floor(time / seconds) + 1


def _about(path: str) -> tuple[Stamp, str, float]:
    """Stamp, content and time of a file."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ImageReadError(f"{path!a}: its name is not UTF-8; rename it") from None
    try:
        stamp = Stamp.of(path)
        if not Path(path).is_file():  # opening a pipe would wait for ever
            raise ImageReadError(f"{path}: not a regular file")
        with Path(path).open("rb") as file:
            content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise ImageReadError(f"{path}: {reason}") from error
    return stamp, content, _taken(path, stamp)


def _taken(path: str, stamp: Stamp) -> float:
    """See :attr:`Entry.taken`."""
    if not is_video_file(path):
        with contextlib.suppress(Exception), open_picture(path) as file:  # broken EXIF, any type: the pixels are good
            text = identify(file).getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal]
            return datetime.strptime(str(text).strip("\0 "), _EXIF_TIME).replace(tzinfo=UTC).timestamp()
    return datetime.fromtimestamp(stamp.modified / 1e9).replace(tzinfo=UTC).timestamp()


def _is_meant(path: Path, folder: Path, suffixes: Sequence[str]) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in suffixes and not path.is_dir()
