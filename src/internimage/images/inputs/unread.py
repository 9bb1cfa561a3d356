"""Files of a folder that are not read: which, and what to do about those that are pictures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from internimage.images.reader import IMAGE_SUFFIXES, VIDEO_SUFFIXES

UNREAD_PICTURES = (
    *(".heic", ".heif", ".hif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".raw", ".psd", ".xcf"),
    *(".svg", ".jxl", ".tga", ".exr", ".hdr", ".dcm", ".czi", ".svs", ".ndpi"),
)
"""Suffixes of pictures in formats that are not read."""

_PHOTOS = (".heic", ".heif", ".hif")  # of telephones
_SHOWN = 6


@dataclass(frozen=True)
class Unread:
    """Files of a folder that :func:`internimage.images.list_images` leaves out.

    Attributes:
        folder: as it was given.
        files: sorted; hidden ones are none of them.
    """

    folder: str
    files: tuple[Path, ...]

    def counts(self) -> dict[str, int]:
        """How many of each suffix, in small letters, the most frequent first; "" for files without one."""
        return dict(Counter(path.suffix.lower() for path in self.files).most_common())

    def __str__(self) -> str:
        """``photos: 15 files are not read: 12 .heic, 3 .txt; convert them to JPEG or PNG ...``."""
        counts = self.counts()
        kinds = [f"{count} {suffix or 'without a suffix'}" for suffix, count in counts.items()]
        more = ["..."] if len(kinds) > _SHOWN else []
        files = "file is" if len(self.files) == 1 else "files are"
        text = f"{self.folder}: {len(self.files)} {files} not read: {', '.join([*kinds[:_SHOWN], *more])}"
        pictures = [suffix for suffix in counts if suffix in UNREAD_PICTURES]
        text += f"; {conversion(pictures)}" if pictures else ""
        return text + "; videos are read where they are named" * any(suffix in VIDEO_SUFFIXES for suffix in counts)


def left_out_of(folder: str | os.PathLike[str]) -> Unread:
    """What :func:`internimage.images.list_images` leaves out of a folder: files that have no suffix of a picture that
    is read; hidden files and folders are not counted."""
    root = Path(folder)
    return Unread(str(folder), tuple(sorted(path for path in root.rglob("*") if _is_left_out(path, root))))


def conversion(suffixes: Iterable[str]) -> str:
    """What to do with pictures of formats that are not read, such as ``.heic``."""
    listed = list(suffixes)
    how = ", such as by ImageMagick's `magick mogrify -format jpg FILES`" if set(listed) & set(_PHOTOS) else ""
    return f"convert {', '.join(listed)} to JPEG or PNG{how}"


def _is_left_out(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() not in IMAGE_SUFFIXES and path.is_file()
