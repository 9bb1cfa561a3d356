"""Objects365 v2: COCO's JSON that names folders which its archives do not have.

Names of classes are the file's, misspelt ones and those that end in a space too.  Format: https://www.objects365.org.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from internimage.data.formats.coco import count_pictures
from internimage.data.formats.coco_file import CocoFile
from internimage.data.formats.documents import LARGEST_SET, read_json
from internimage.data.formats.pictures import PictureFinder
from internimage.data.formats.places import data_folder
from internimage.data.left_out import LeftOut
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
    content = read_json(file, largest=LARGEST_SET)
    images = content.get("images") if isinstance(content, dict) else None
    for entry in images if isinstance(images, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("file_name"), str):
            entry["file_name"] = "/".join(PurePosixPath(entry["file_name"]).parts[-2:])
    folders = [base / name.format(part=part) for name in _FOLDERS]
    found = CocoFile(file, content, PictureFinder(folders, base), needed).read(options)
    files = found.table.files
    unusable = [row for row in range(len(found)) if files[row].name in _UNUSABLE]
    kept = found.chosen(sorted(set(range(len(found))) - set(unusable)), found.name) if unusable else found
    names = tuple(str(files[row]) for row in unusable)
    left_out = (LeftOut("known to be unusable", "pictures", names, len(names), len(found)),) if names else ()
    return replace(kept, format="Objects365", left_out=(*found.left_out, *left_out), listed=True)
