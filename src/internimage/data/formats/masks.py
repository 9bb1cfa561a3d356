"""Images with a class for every pixel: finding pictures and masks, and what the masks' numbers mean."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from internimage.data.formats.coco import estimate_object_images, is_object_data, read_object_parts
from internimage.data.formats.mask_folders import Colour, find_layout, find_pairs, has_pairs
from internimage.data.masks import VOID, Coding, SegmentedImage, SegmentedImages, flat_ids, listed
from internimage.data.splits import Splits, divide
from internimage.errors import DataError, ImageReadError
from internimage.images.masks import grey_numbers, read_mask
from internimage.labels import load_labels, load_palette

_BACKGROUND, _FOREGROUND = "background", "foreground"
_SEEN_FIRST = 2_000  # masks that are looked at for their numbers where no file names the classes
_LOOKED_AT = 100  # masks, where a file names the classes
_KEYS = {"classes", "ids", "palette", "unknown", "void_index"}


@dataclass(frozen=True)
class Classes:
    """Names and colours (None for colours that are made up) of classes, and what stands for them in masks."""

    names: tuple[str, ...]
    palette: tuple[Colour, ...] | None
    coding: Coding


def is_mask_data(root: Path) -> bool:
    """Whether pictures and masks lie at ``root``."""
    root = root.expanduser()
    return has_pairs(root)


def estimate_masked_images(root: Path) -> int:
    """How many images there are to train on; 0 if none are found."""
    root = root.expanduser()
    if is_object_data(root):
        return estimate_object_images(root)
    try:
        pairs = find_pairs(root, "train")
    except DataError:
        return 0
    return len(next(iter(pairs.values()), ()))


def read_mask_splits(root: Path, *, val_fraction: float = 0.2, seed: int = 0) -> Splits[SegmentedImages]:
    """Find training, validation and test images, see :func:`read_mask_parts`.

    Without validation images, ``val_fraction`` of the images is set aside, chosen by ``seed``.

    Raises:
        DataError: nothing of the kind is there.
    """
    parts = read_mask_parts(root)
    train = parts.get("train") or parts.get("all")
    if train is None:
        raise DataError(f"{root} has no training images; found {', '.join(parts)}")
    if "val" in parts:
        return Splits(train, parts["val"], parts.get("test"), False)
    images, taken = divide(train.images, train.name, val_fraction, seed)
    val = replace(train, name=f"{train.name} (set aside)", images=taken)
    return Splits(replace(train, images=images), val, parts.get("test"), True)


def read_mask_parts(root: Path, wanted: str | None = None) -> dict[str, SegmentedImages]:
    """The parts of a data set as they lie there: "train", "val", "test", or "all"; only ``wanted`` if there is such.

    Where pictures and masks may lie is said in :mod:`internimage.data.formats.mask_folders`.  What the masks' numbers
    mean is said by ``classes.json`` or ``classes.txt`` at ``root``, see :func:`read_classes`; without, the numbers that
    the masks have are the classes.  Or ``root`` has objects as COCO describes them, painted over a background.

    Raises:
        DataError: nothing of the kind is there, no picture has a mask, or the classes' file contradicts itself.
    """
    root = root.expanduser()
    if is_object_data(root):
        return _painted(root, wanted)
    if not root.is_dir():
        raise DataError(f"{root} does not exist; expected a folder with pictures and masks")
    everything = find_pairs(root)
    if not everything:
        raise DataError(
            f"{root} holds no pictures with masks; expected train/images and train/masks, or images and masks"
        )
    classes = _named_classes(root)
    if classes is None:
        classes = _seen_classes(root, everything)
    elif classes.coding == Coding(((0,), (1,)), frozenset({VOID})) and _is_black_and_white(everything):
        classes = replace(classes, coding=Coding(((0,), (VOID,)), frozenset()))
    pairs = {part: found for part, found in everything.items() if part == wanted} or everything
    return {
        part: SegmentedImages(
            f"{root} ({part})" if part != "all" else str(root),
            classes.names,
            classes.palette,
            classes.coding,
            tuple(SegmentedImage(picture, mask) for picture, mask in sorted(found)),
        )
        for part, found in pairs.items()
    }


def read_classes(path: Path) -> Classes:
    """Names, colours and numbers of the classes from a file.

    ``classes.txt`` has a name a line, the first of number 0; of two, for black and white masks, the second is white.
    ``classes.json`` is an object with "classes" (names) and, if they differ from 0, 1, 2 ..., "ids" (for each a number,
    or a list of numbers that become one class), and if there are such, "palette" (red, green, blue) and "unknown"
    (numbers or names of classes that teach nothing; so do 0 and 255 unless a class has them); or a list of objects with
    "id", "name" and, if there is one, "color".

    Raises:
        DataError: the file is unreadable or contradicts itself.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = None if path.suffix == ".txt" else json.loads(text)
    except (OSError, ValueError) as error:
        kind = "text in UTF-8" if path.suffix == ".txt" else "JSON"
        raise DataError(f"{path} is not readable {kind}: {error}") from error
    if path.suffix == ".txt":
        names = [line.strip() for line in text.splitlines() if line.strip()]
        return _classes(path, names, list(range(len(names))), None, [])
    if isinstance(content, list) and all(isinstance(one, dict) for one in content):
        colours = [one.get("color") for one in content]
        palette = colours if content and all(colours) else None
        return _classes(path, [one.get("name") for one in content], [one.get("id") for one in content], palette, [])
    if not isinstance(content, dict) or not isinstance(content.get("classes"), list):
        raise DataError(f"{path} has no list 'classes'; expected names, and if need be ids, palette and unknown")
    if others := sorted(set(content) - _KEYS):
        raise DataError(f"{path} has {listed(others)}; expected classes, ids, palette and unknown")
    names = content["classes"]
    unknown = content.get("unknown", [content["void_index"]] if "void_index" in content else [])
    if not isinstance(unknown, list):
        raise DataError(f"{path}: unknown is {unknown!r}; expected a list of numbers or names")
    return _classes(path, names, content.get("ids", list(range(len(names)))), content.get("palette"), unknown)


def _classes(path: Path, names: Any, ids: Any, palette: Any, unknown: list[Any]) -> Classes:
    if not names or not all(isinstance(name, str) and name.strip() for name in names) or len(set(names)) < len(names):
        raise DataError(f"{path}: the classes' names are {listed(names)}; expected texts, each of them once")
    if not isinstance(ids, list) or len(ids) != len(names) or not all(map(_are_numbers, ids)):
        raise DataError(
            f"{path}: ids are {listed(ids)}; expected a whole number, or a list of such, for each of {len(names)} "
            "classes"
        )
    grouped = _grouped(ids)
    if any(one < 0 for one in flat_ids(grouped)):
        raise DataError(f"{path}: ids are {listed(ids)}; expected numbers from 0 on, as masks have them")
    if len(set(flat_ids(grouped))) < len(flat_ids(grouped)):
        raise DataError(f"{path}: ids are {listed(ids)}; expected each number once")
    colours = None
    if palette is not None:
        fits = isinstance(palette, list) and len(palette) == len(names)
        if not fits or not all(
            isinstance(one, list) and len(one) == 3 and all(type(v) is int and 0 <= v <= 255 for v in one)
            for one in palette
        ):
            raise DataError(f"{path}: palette is not red, green, blue of each of {len(names)} classes, 0 to 255")
        colours = [(one[0], one[1], one[2]) for one in palette]
    if wrong := [one for one in unknown if type(one) is not int and not isinstance(one, str)]:
        raise DataError(f"{path}: unknown has {listed(wrong)}; expected whole numbers or names of classes")
    left_out = {name for name in unknown if isinstance(name, str)}
    if strange := left_out - set(names):
        raise DataError(f"{path}: unknown has {listed(sorted(strange))}, which is no class")
    numbers = {one for one in unknown if type(one) is int}
    numbers |= {one for name, group in zip(names, grouped, strict=True) if name in left_out for one in group}
    grouped = tuple(tuple(one for one in group if one not in numbers) for group in grouped)
    kept = [index for index, group in enumerate(grouped) if group]
    hidden = {colours[index] for index in range(len(names)) if index not in kept} if colours else set()
    if not kept:
        raise DataError(f"{path}: all classes are unknown; expected at least one to tell apart")
    void = {0, VOID} - set(flat_ids(grouped))
    chosen = tuple(colours[index] for index in kept) if colours else None
    coding = Coding(
        tuple(grouped[index] for index in kept),
        frozenset(numbers | void),
        chosen if chosen and len(set(chosen)) == len(chosen) else None,  # a colour of two classes says nothing
        frozenset(hidden or {(0, 0, 0)}) - frozenset(chosen or ()),
    )
    return Classes(tuple(names[index] for index in kept), chosen, coding)


def _named_classes(root: Path) -> Classes | None:
    """From a file at ``root``, or from what is known of a data set; None if nobody says."""
    for name in ("classes.json", "categories.json", "classes.txt"):
        if (root / name).is_file():
            return read_classes(root / name)
    layout = find_layout(root)
    if layout is None:
        return None
    names = load_labels(layout.labels) if layout.labels else layout.classes
    palette = load_palette(layout.labels) if layout.labels else layout.palette
    ids = _grouped(layout.ids or range(layout.first, layout.first + len(names)))
    unknown = {VOID, *layout.unknown, *range(layout.first)}
    if layout.ids:  # the others are of classes that are not evaluated
        unknown |= set(range(-1, max(flat_ids(ids)) + 2)) - set(flat_ids(ids))
    return Classes(names, palette, Coding(ids, frozenset(unknown)))


def _seen_classes(root: Path, pairs: dict[str, list[tuple[Path, Path]]]) -> Classes:
    """The numbers that masks have, where no file names the classes."""
    seen = _seen_numbers(pairs, _SEEN_FIRST)
    if seen in ({0, VOID}, {0, 1}, {0, 1, VOID}):  # black and white
        ids = _grouped([0, 1 if 1 in seen else VOID])
        return Classes((_BACKGROUND, _FOREGROUND), None, Coding(ids, frozenset({VOID} - set(flat_ids(ids)))))
    ids = _grouped(sorted(seen - {VOID}))
    if not ids:
        raise DataError(f"{root}: none of the masks has a class, or none can be read (internimage data check)")
    return Classes(tuple(f"class {one}" for one in flat_ids(ids)), None, Coding(ids))


def _is_black_and_white(pairs: dict[str, list[tuple[Path, Path]]]) -> bool:
    """Whether masks are of 0 and 255, by a look at some: numbers of two named classes are 0 and 1 otherwise."""
    return _seen_numbers(pairs, _LOOKED_AT) == {0, VOID}


def _seen_numbers(pairs: dict[str, list[tuple[Path, Path]]], most: int) -> set[int]:
    """Those of all masks; of more than ``most``, only of some."""
    masks = sorted(mask for found in pairs.values() for _, mask in found)
    seen: set[int] = set()
    for mask in masks[:: -(-len(masks) // most)]:
        try:
            pixels = read_mask(mask)
        except ImageReadError:
            continue  # training says which files cannot be read
        numbers = grey_numbers(pixels) if pixels.ndim == 3 else pixels
        if numbers is None:
            raise DataError(f"{mask} is a mask of colours; a classes.json with classes and palette has to name them")
        seen |= set(np.unique(numbers).tolist())
    return seen


def _painted(root: Path, wanted: str | None) -> dict[str, SegmentedImages]:
    parts = {}
    for name, data in read_object_parts(root, wanted).items():
        if any(one.segmentation is None for image in data.images for one in image.objects):
            raise DataError(f"{data.name}: not every object has a mask; a segmenter needs them")
        classes = (_BACKGROUND, *data.classes)
        images = tuple(SegmentedImage(image.file, image) for image in data.images)
        parts[name] = SegmentedImages(data.name, classes, None, Coding(_grouped(range(len(classes)))), images)
    if len({part.classes for part in parts.values()}) > 1:
        raise DataError(f"{root}: the parts have different classes; expected one list of categories")
    return parts


def _are_numbers(value: Any) -> bool:
    """Whether a value is a number of a class, or a list of them."""
    return type(value) is int or (isinstance(value, list) and value != [] and all(type(one) is int for one in value))


def _grouped(ids: Iterable[Any]) -> tuple[tuple[int, ...], ...]:
    """The numbers of each class, of which most have one."""
    return tuple((one,) if isinstance(one, int) else tuple(one) for one in ids)
