"""Finding pictures and their masks: in folders of known names, or as known data sets have them.

Pictures and masks have the same name, whatever the suffix.  They lie in ``train/images`` and ``train/masks``, in
``images/train`` and ``masks/train``, or without parts in ``images`` and ``masks``; other names of such folders, in
small letters or not, are ``IMAGE_FOLDERS``, ``MASK_FOLDERS`` and those of
:mod:`internimage.data.formats.parts`.  Or ``layouts.json`` describes the set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

from internimage.data.formats.parts import PART_NAMES
from internimage.errors import DataError
from internimage.images import IMAGE_SUFFIXES

Colour = tuple[int, int, int]
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "img_dir", "jpegimages")
_FEW = 1_000  # files of a folder that are looked at
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "ann_dir", "segmentationclass")


@dataclass(frozen=True)
class Layout:
    """A data set that is recognised by its folders.

    Attributes:
        name: of the set.
        marker: a file or folder that it has.
        train, val, test: folder of pictures, folder of masks and, where there is one, the list of names of each part.
        labels: a label set, or else
        classes, palette: names and colours.
        image, mask: ends of the files' names.
        first: the number of the first class, or else
        ids: the number or numbers of each; all others up to the last, and one more, are unknown.
        unknown: more numbers of no class.
    """

    name: str
    marker: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...] | None = None
    labels: str | None = None
    classes: tuple[str, ...] = ()
    palette: tuple[Colour, ...] | None = None
    image: str = ""
    mask: str = ""
    first: int = 0
    ids: tuple[int | tuple[int, ...], ...] = ()
    unknown: tuple[int, ...] = ()


def find_layout(root: Path) -> Layout | None:
    """The known data set that lies at ``root``."""
    there = (one for one in _layouts() if (root / one.marker).exists() and (root / one.train[0]).is_dir())
    return next(there, None)


def layout_of(name: str) -> Layout:
    """The layout of a known data set by its name.

    Raises:
        KeyError: there is none of this name.
    """
    return {one.name: one for one in _layouts()}[name]


@cache
def _layouts() -> tuple[Layout, ...]:
    known = json.loads(files("internimage.data.formats").joinpath("layouts.json").read_text(encoding="utf-8"))
    return tuple(Layout(**{key: _frozen(value) for key, value in entry.items()}) for entry in known)


def has_pairs(root: Path) -> bool:
    """Whether there are folders of pictures and of masks; folders of text, as YOLO's and VOC's, are no masks."""
    if not root.is_dir():
        return False
    return find_layout(root) is not None or any(not _is_text(root / masks) for _, _, masks in _folders(root))


def _is_text(folder: Path) -> bool:
    """Whether a folder holds files of labelling tools and no pictures."""
    found = {path.suffix.lower() for path in islice(folder.rglob("*"), _FEW)}
    return bool(found & {".txt", ".xml", ".json"}) and not found & set(IMAGE_SUFFIXES)


def find_pairs(root: Path, wanted: str | None = None) -> dict[str, list[tuple[Path, Path]]]:
    """Pictures and masks of each part that has any ("train", "val", "test" or "all"), or of the ``wanted`` one alone.

    A picture without a mask is given the path that its mask would have.

    Raises:
        DataError: two files have one name, or none of the pictures has a mask.
    """
    if not root.is_dir():
        return {}
    layout = find_layout(root)
    if layout is not None:
        places = {part: getattr(layout, part) for part in ("train", "val", "test")}
        there = [(part, place) for part, place in places.items() if place and (root / place[0]).is_dir()]
    else:
        there = [(part, (images, masks)) for part, images, masks in _folders(root)]
    pairs: dict[str, list[tuple[Path, Path]]] = {}
    for part, place in [one for one in there if one[0] == wanted] or there:
        if part not in pairs and (found := _pairs(root, place, layout)):
            pairs[part] = found
    return pairs


def masks_alone(pairs: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Masks in the folders of those of ``pairs``, called like them, of which the picture is not there."""
    used = {mask for _, mask in pairs}
    ends = tuple({mask.name.removeprefix(picture.stem) for picture, mask in pairs})
    there = (path for folder in {mask.parent for mask in used} if folder.is_dir() for path in folder.iterdir())
    return sorted(path for path in there if path not in used and path.name.endswith(ends) and path.name[0] != ".")


def _frozen(value: Any) -> Any:
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value


def _folders(root: Path) -> Iterator[tuple[str, str, str]]:
    """Part, folder of pictures and folder of masks below ``root``, wherever they may be."""
    for part, names in PART_NAMES.items():
        for above in _children(root, names):
            for images in _children(root / above, IMAGE_FOLDERS):
                for masks in _children(root / above, MASK_FOLDERS):
                    yield part, f"{above}/{images}", f"{above}/{masks}"
        for images in _children(root, IMAGE_FOLDERS):
            for masks in _children(root, MASK_FOLDERS):
                for first in _children(root / images, names):
                    for second in _children(root / masks, names):
                        yield part, f"{images}/{first}", f"{masks}/{second}"
    for images in _children(root, IMAGE_FOLDERS):
        for masks in _children(root, MASK_FOLDERS):
            if any(path.suffix.lower() in IMAGE_SUFFIXES for path in (root / images).iterdir()):
                yield "all", images, masks


def _children(folder: Path, names: Sequence[str]) -> list[str]:
    """Folders of these names, whatever the case of their letters, in the order of the names."""
    found = [path.name for path in folder.iterdir() if path.name.lower() in names and path.is_dir()]
    return sorted(found, key=lambda name: (names.index(name.lower()), name))


def _pairs(root: Path, place: Sequence[str], layout: Layout | None) -> list[tuple[Path, Path]]:
    images, masks = root / place[0], root / place[1]
    ends = (layout.image, layout.mask) if layout else ("", "")
    pictures, drawn = by_name(images, ends[0]), by_name(masks, ends[1])
    if len(place) > 2:
        lines = (root / place[2]).read_text(encoding="utf-8").splitlines()
        names = {line.split()[0] for line in lines if line.strip()}
        pictures = {name: path for name, path in pictures.items() if name in names}
    if pictures and not set(pictures) & set(drawn):
        text = any(path.suffix == ".txt" for path in masks.rglob("*")) if masks.is_dir() else False
        raise DataError(
            f"none of the {len(pictures)} pictures in {images} has a mask of its name in {masks}, such as "
            f"{next(iter(pictures))}.png"
            + ("; the text files there, YOLO's perhaps, are not read: export masks, or COCO's JSON" if text else "")
        )
    return sorted((path, drawn.get(name, masks / f"{name}{ends[1] or '.png'}")) for name, path in pictures.items())


def by_name(folder: Path, end: str = "") -> dict[str, Path]:
    """Files below a folder by their path in it, without ``end``; without an end pictures, without their suffix.

    Hidden ones are left out.

    Raises:
        DataError: two files have one name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob(f"*{end}")):
        if path.name.startswith(".") or not (end or path.suffix.lower() in IMAGE_SUFFIXES):
            continue
        inner = path.relative_to(folder)
        name = inner.as_posix().removesuffix(end) if end else inner.with_suffix("").as_posix()
        if name in found:
            raise DataError(f"{path} and {found[name].name} have one name; expected one file of each name")
        if path.is_file():
            found[name] = path
    return found
