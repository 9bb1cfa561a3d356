"""Objects365 v2: COCO's JSON that names folders which its archives do not have.

Names of classes are the file's, misspelt ones and those that end in a space too.  Format: https://www.objects365.org.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from internimage.data.formats.coco import count_pictures
from internimage.data.formats.coco_file import CocoFile
from internimage.data.formats.pictures import PictureFinder
from internimage.data.formats.places import data_folder
from internimage.data.objects import ObjectImages
from internimage.settings.data import DataOptions

_FILE = "zhiyuan_objv2_{part}.json"
_FOLDERS = ("{part}", "images/{part}", "{part}/images", "images", ".")
# training pictures that the released code leaves out, because they cannot be used
_UNUSABLE = frozenset({"objects365_v2_00908726.jpg", "objects365_v1_00320532.jpg", "objects365_v1_00320534.jpg"})


def recognise(root: Path) -> bool:
    """Whether its JSON lies at ``root`` or in ``annotations``."""
    return bool(_files(root))


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on, counted up to ``most``."""
    train = _files(root).get("train")
    return count_pictures(train, most) if train else 0


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """Training and validation.

    Raises:
        DataError: a file contradicts the format.
    """
    files = _files(root)
    chosen = {part: file for part, file in files.items() if part == wanted} or files
    return {part: _read(file, part, data_folder(root), options or DataOptions()) for part, file in chosen.items()}


def read_annotations(file: Path, options: DataOptions) -> ObjectImages:
    """One file, whether its pictures are there or not."""
    return _read(file, next(iter(_files(file))), data_folder(file), options, needed=False)


def _files(root: Path) -> dict[str, Path]:
    names = {part: _FILE.format(part=part) for part in ("train", "val")}
    if root.is_file():
        return {part: root for part, name in names.items() if root.name == name}
    places = {part: [root / name, root / "annotations" / name, root / part / name] for part, name in names.items()}
    found = {part: [file for file in files if file.is_file()] for part, files in places.items()}
    return {part: files[0] for part, files in found.items() if files}


def _read(file: Path, part: str, base: Path, options: DataOptions, *, needed: bool = True) -> ObjectImages:
    folders = [base / name.format(part=part) for name in _FOLDERS]
    found = CocoFile(file, PictureFinder(folders, base), needed, named=_name, without=_UNUSABLE).read(options)
    return replace(found, format="Objects365", listed=True)


def _name(entry: dict[str, Any]) -> Any:
    """The picture's name without folders that the archives have not."""
    name = entry.get("file_name")
    return "/".join(name.split("/")[-2:]) if isinstance(name, str) else name
