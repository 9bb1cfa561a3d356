"""LVIS v1: COCO's JSON in which pictures have addresses, and classes were looked for in some pictures only.

Pictures of its validation lie in COCO's train2017 too.  The part ``minival`` is those of them that do not.
Format: https://www.lvisdataset.org/dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from internimage.data.formats.coco_file import CocoFile
from internimage.data.formats.parts import part_mentioned
from internimage.data.formats.pictures import PictureFinder
from internimage.data.formats.places import data_folder, holds
from internimage.data.objects import ObjectImage, ObjectImages, Rule, Verified
from internimage.errors import DataError
from internimage.settings.data import DataOptions

MINIVAL = "minival"
_LOOKED_FOR = ("neg_category_ids", "not_exhaustive_category_ids")
_MARKS = (b'"neg_category_ids"', b'"not_exhaustive_category_ids"')


def recognise(root: Path) -> bool:
    """Whether its JSON lies at ``root`` or in ``annotations``."""
    return bool(_files(root))


def readings(root: Path) -> Mapping[str, str]:
    """By whose rule results are measured."""
    return {"lvis": "LVIS' rule", "coco": "COCO's rule, by which classes that nobody looked for are absent"}


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """Training and validation; ``minival`` of the latter where that is wanted.

    Raises:
        DataError: a file contradicts the format.
    """
    files = _files(root)
    part = "val" if wanted == MINIVAL and MINIVAL not in files else wanted
    chosen = {name: file for name, file in files.items() if name == part}
    if not chosen:
        chosen = {name: file for name, file in files.items() if name != MINIVAL} or files
    read = {name: _read(file, data_folder(root), options or DataOptions()) for name, file in chosen.items()}
    if wanted == MINIVAL and part == "val" and "val" in read:
        val = read["val"]
        images = val.table.files
        few = [row for row in range(len(val)) if Path(str(images[row])).parent.name == "val2017"]
        return {MINIVAL: val.chosen(few, f"{val.name} ({MINIVAL}: the pictures of val2017)")}
    return read


def read_annotations(file: Path, options: DataOptions) -> ObjectImages:
    """One file, whether its pictures are there or not."""
    return _read(file, data_folder(file), options, needed=False)


def _files(root: Path) -> dict[str, Path]:
    if root.is_file():
        return {part_mentioned(root.stem) or "all": root} if _is_lvis(root) else {}
    found: dict[str, Path] = {}
    for folder in (root, root / "annotations", root / "lvis", root / "lvis" / "annotations"):
        for file in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            part = MINIVAL if MINIVAL in file.stem else part_mentioned(file.stem)
            if part and part not in found and _is_lvis(file):
                found[part] = file
    return found


def _is_lvis(file: Path) -> bool:
    return file.suffix.lower() == ".json" and holds(file, *_MARKS)


def _read(file: Path, base: Path, options: DataOptions, *, needed: bool = True) -> ObjectImages:
    folders = [base / name for name in (".", "images", "coco", "coco/images")] + [base.parent / "coco", base.parent]
    content = CocoFile(file, PictureFinder(folders, base), needed, named=_name, keep=_LOOKED_FOR)
    part = content.read(options)
    if options.reading == "coco":
        return replace(part, format="LVIS", listed=True)
    number = {identity: index for index, identity in enumerate(part.category_ids)}
    found = [
        image._replace(verified=_verified(file, image, content.kept[image.identity], number)) for image in part.images
    ]
    frequency = _frequency(file, content.categories, number)
    return replace(part, images=found, format="LVIS", rule=Rule("lvis", frequency), listed=True)


def _name(entry: Mapping[str, Any]) -> Any:
    """The picture's name, of which most entries have only an address."""
    name, url = entry.get("file_name"), entry.get("coco_url")
    return "/".join(PurePosixPath(urlsplit(url).path).parts[-2:]) if name is None and isinstance(url, str) else name


def _verified(file: Path, image: ObjectImage, entry: Mapping[str, Any], number: Mapping[Any, int]) -> Verified:
    classes = []
    for key in _LOOKED_FOR:
        ids = [] if entry[key] is None else entry[key]
        if not isinstance(ids, list) or not all(identity in number for identity in ids):
            raise DataError(f"{file}: {key} of image {image.identity} is {str(ids)[:80]}; expected ids of categories")
        classes.append(frozenset(number[identity] for identity in ids))
    return Verified(frozenset(one.label for one in image.objects), *classes)


def _frequency(file: Path, categories: list[Any], number: Mapping[Any, int]) -> tuple[str, ...]:
    found = {one["id"]: one.get("frequency") for one in categories if one["id"] in number}
    if wrong := next((identity for identity, letter in found.items() if letter not in ("r", "c", "f")), None):
        raise DataError(f"{file}: the frequency of category {wrong} is {found[wrong]!r}; expected r, c or f")
    return tuple(found[identity] for identity in number)
