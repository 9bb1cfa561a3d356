"""Where annotations may lie: at the top, in folders of usual names, in folders called after parts."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from internimage.data.formats.parts import PartName, folders_in, part_folders, part_named
from internimage.data.formats.pictures import PictureFinder, is_hidden, is_output
from internimage.images.reader import IMAGE_SUFFIXES

ANNOTATION_FOLDERS = ("annotations", "annotation", "labels", "label", "ann", "anns", "xml", "json", "labelme")
PICTURE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "data")
_LOOKED_AT = 20  # files of a kind: annotations lie among other files of their suffix
_HEAD = 4096  # bytes
_ROOT = re.compile(rb"<([A-Za-z_][\w.-]*)")


def places(root: Path) -> Iterator[tuple[Path, PartName | None]]:
    """Folders where annotations may lie, and the part that they are called after."""
    if not root.is_dir() or is_output(root):
        return
    yield root, None
    usual = (*ANNOTATION_FOLDERS, *PICTURE_FOLDERS)
    for part, folder in part_folders(root).items():
        yield folder, part
        for inner in _children(folder, usual):
            yield inner, part
    for folder in _children(root, usual):
        yield folder, None
        for path in folders_in(folder):
            if inner_part := part_named(path.name):
                yield path, inner_part


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """Files of a folder with one of these suffixes in any case, sorted; hidden ones are left out."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(suffixes) and entry.is_file())
    return [folder / name for name in names if not is_hidden(name)]


def annotation_files(root: Path, *suffixes: str) -> Iterator[tuple[Path, PartName | None]]:
    """Files with one of these suffixes at all places, and the part that their folder is called after."""
    if root.is_file():
        if root.suffix.lower() in suffixes:
            yield root, None
        return
    for folder, part in places(root):
        for file in files_in(folder, *suffixes):
            yield file, part


def some_files(root: Path, *suffixes: str) -> list[Path]:
    """A few files of each place, to tell a format by."""
    if root.is_file():
        return [root] if root.suffix.lower() in suffixes else []
    return [file for folder, _ in places(root) for file in islice(files_in(folder, *suffixes), _LOOKED_AT)]


def data_folder(root: Path) -> Path:
    """The folder of a data set that is given as such, or as an annotation file in it or in ``annotations``."""
    if root.is_dir():
        return root
    return root.parent.parent if root.parent.name.lower() in ANNOTATION_FOLDERS else root.parent


def holds(path: Path, *words: bytes) -> bool:
    """Whether a file has all these words, in UTF-8 or UTF-16, without parsing it."""
    with mapped(path) as content:
        return all(content.find(word) >= 0 for word in words)


def root_element(path: Path) -> str:
    """The name of an XML file's first element; nothing where there is none."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return ""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.decode("utf-16", "replace").encode()
    found = _ROOT.search(re.sub(rb"<!--.*?-->", b"", head, flags=re.DOTALL))
    return found[1].decode() if found else ""


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    """The bytes of a file, in UTF-8; none of one that cannot be read, which is said when it is."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
            yield content[:].decode("utf-16", "replace").encode() if wide else content
    except (OSError, ValueError):  # an empty file has no map
        yield b""


def picture_finder(root: Path, part: str | None, *first: Path) -> PictureFinder:
    """Finds pictures of a part: in the folders named first, in those of the part, in those of none."""
    base = root if root.is_dir() else root.parent
    there = list(places(base))
    own = [folder for folder, name in there if name == part]
    return PictureFinder([*first, *own, *(folder for folder, name in there if name is None)], base)


class Neighbours:
    """Pictures beside other files of their name; a folder is listed once."""

    def __init__(self) -> None:
        self._listed: dict[Path, dict[str, Path]] = {}

    def find(self, file: Path) -> Path | None:
        """The picture in the file's folder that has its name, but for the suffix."""
        folder = file.parent
        if folder not in self._listed:
            self._listed[folder] = {path.stem: path for path in files_in(folder, *IMAGE_SUFFIXES)}
        return self._listed[folder].get(file.stem)


def _children(folder: Path, names: tuple[str, ...]) -> list[Path]:
    return [path for path in folders_in(folder) if path.name.lower() in names]
