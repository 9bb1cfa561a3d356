"""The folder that a data set is written to: aside first, and moved when all of it is there."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from internimage.data.objects import ObjectImage, ObjectImages
from internimage.data.samples import ImageFile
from internimage.errors import DataError, FileWriteError, ImageReadError
from internimage.images import read_image
from internimage.images.reader import read_header
from internimage.settings.data import Pictures
from internimage.writing import json_text

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
_HARMLESS = "-_ .,()[]'&+@=!%#"


class Target:
    """A folder that grows.

    Args:
        folder: where everything is written.
        pictures: "copy" them, "link" to them (hard, or symbolic on another disk), or "none": names alone.
        upright: pictures that are turned as their EXIF data ask for and stored anew.

    Attributes:
        lost: what could not be carried over, counted.
    """

    def __init__(self, folder: Path, pictures: Pictures = "copy", upright: Collection[ImageFile] = ()) -> None:
        self.folder = folder
        self.pictures = pictures
        self.upright = upright
        self.lost: Counter[str] = Counter()
        self._names: dict[Path, dict[str, Path]] = {}

    def write(self, name: str, text: str) -> None:
        """A text file at a path below the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")

    def write_json(self, name: str, content: Any) -> None:
        """A JSON file at a path below the folder."""
        self.write(name, json_text(content))

    def picture(self, file: ImageFile, folder: str) -> str:
        """Put a picture into a folder below; its name there, which no other picture has, with a suffix or without.

        Raises:
            DataError: it is not there.
        """
        place = self.folder / folder
        place.mkdir(parents=True, exist_ok=True)
        taken = self._names.setdefault(place, {})
        given = os.fsencode(Path(str(file)).name).decode("utf-8", "replace").replace("\ufffd", "_")
        stem, suffix, number = Path(given).stem, Path(given).suffix, 1
        while stem.lower() in taken:
            number += 1
            stem = f"{Path(given).stem}_{number}"
        taken[stem.lower()] = place / f"{stem}{suffix}"
        self._place(file, place / f"{stem}{suffix}")
        return f"{stem}{suffix}"

    def _place(self, file: ImageFile, there: Path) -> None:
        if self.pictures == "none":
            return
        try:
            if file in self.upright and not _beyond_8_bits(file):
                picture = read_image(file)
                if there.suffix.lower() in _JPEG:
                    picture.save(there, "JPEG", quality=95, subsampling=0)
                else:
                    picture.save(there)
            elif not isinstance(file, Path):
                there.write_bytes(file.read_bytes())
            elif self.pictures == "copy":
                shutil.copy2(file, there)
            else:
                try:
                    there.hardlink_to(file.resolve())
                except OSError:  # another disk, or a file system without
                    there.symlink_to(file.resolve())
        except FileNotFoundError:
            raise DataError(f"{file}: no such file; internimage data check lists all that lack") from None
        except ImageReadError as error:
            raise DataError(str(error)) from error


@contextmanager
def new_folder(target: Path, source: Path) -> Iterator[Path]:
    """A folder that is written aside and becomes ``target`` if the block succeeds; nothing stays of it if not.

    Raises:
        DataError: there is something at ``target``, or one lies in the other.
        FileWriteError: the disk is full or not writable.
    """
    target = target.expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} is there already; expected a name that is free, or an empty folder")
    here, there = source.expanduser().resolve(), target.resolve()
    if there.is_relative_to(here) or here.is_relative_to(there):
        raise DataError(f"{target} and {source} lie in each other; expected a folder beside the data")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}.partial")
    aside.mkdir()
    try:
        yield aside
        if target.is_dir():
            target.rmdir()
        aside.rename(target)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise FileWriteError(
            f"cannot write {target}: {where}{error.strerror or error}; nothing of it was left"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def folder_of(name: str) -> str:
    """A class's name as that of a folder.

    Raises:
        DataError: it cannot be one.
    """
    if name in ("", ".", "..") or not all(one.isalnum() or one in _HARMLESS for one in name):
        raise DataError(f"the class {name!r} cannot be a folder; expected letters and digits: choose another format")
    return name


def below(part: str, *names: str) -> str:
    """A path of folders for a part; "all" has none of its own."""
    return "/".join([*names, *([part] if part != "all" else [])])


def size_of(image: ObjectImage) -> tuple[int, int]:
    """(width, height) that annotations are for."""
    return image.size[1], image.size[0]


def count_lost_masks(target: Target, parts: Mapping[str, ObjectImages]) -> None:
    """Count the masks of a format that knows none."""
    lost = sum(int((part.table.with_shapes & ~part.table.outlined).sum()) for part in parts.values())
    target.lost["masks, of which the boxes stay"] += lost


def rounded(value: float) -> float:
    """Four digits are enough for a pixel, and keep files short."""
    return round(value, 4)


def _beyond_8_bits(file: ImageFile) -> bool:
    """Whether a picture would lose channels or bits by being stored anew; it stays as it is, and is read upright."""
    header = read_header(file)
    return header.deep or header.channels != 3
