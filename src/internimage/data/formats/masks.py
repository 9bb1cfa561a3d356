"""Images with a class for every pixel: finding pictures and masks, and what the masks' numbers mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from internimage.data.formats.mask_folders import Layout, find_layout, find_pairs, has_pairs, masks_alone
from internimage.data.formats.mask_numbers import (
    Classes,
    Pairs,
    grouped,
    is_black_and_white,
    refuse_counted_from_one,
    seen_classes,
)
from internimage.data.formats.shards import has_masks, mask_pairs
from internimage.data.left_out import LeftOut
from internimage.data.masks import VOID, Coding, SegmentedImage, SegmentedImages, flat_ids, listed
from internimage.data.samples import ImageFile
from internimage.errors import DataError
from internimage.labels import load_labels, load_palette
from internimage.settings.data import DataOptions

NAMING = ("classes.json", "categories.json", "classes.txt")
"""Files beside the masks that say what their numbers mean."""
_FOLDERS = 2  # of pictures and masks; sets with a list beside them have masks of other parts there
_KEYS = {"classes", "ids", "palette", "unknown", "void_index"}


def recognise(root: Path) -> bool:
    """Whether pictures and masks lie at ``root``: folders of both, the masks as pictures."""
    return has_pairs(root) or has_masks(root)


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    pairs = find_pairs(root, "train")
    return min(most, len(next(iter(pairs.values()), ())))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, SegmentedImages]:
    """The parts of a data set as they lie there: "train", "val", "test", or "all"; only ``wanted`` if there is such.

    Where pictures and masks may lie is said in :mod:`internimage.data.formats.mask_folders` and, packed, in
    :mod:`internimage.data.formats.shards`.  What the masks' numbers
    mean is said by ``classes.json`` or ``classes.txt`` at ``root``, see :func:`read_classes`; without, the numbers that
    the masks have are the classes.

    Raises:
        DataError: nothing of the kind is there, no picture has a mask, the classes' file contradicts itself, without
            such a file the numbers are no classes (at edges only, or too many), or ``classes.txt`` may count from 1.
    """
    if not root.exists():
        raise DataError(f"{root} does not exist; expected a folder with pictures and masks")
    everything: Pairs = find_pairs(root) or mask_pairs(root)
    if not everything:
        raise DataError(
            f"{root} holds no pictures with masks; expected train/images and train/masks, or images and masks"
        )
    layout = None if any((root / name).is_file() for name in NAMING) else find_layout(root)
    classes, notes = _named_classes(root), tuple[str, ...]()
    if classes is None:
        classes, notes = seen_classes(root, everything)
    elif classes.coding == Coding(((0,), (1,)), frozenset({VOID})) and is_black_and_white(everything):
        classes = replace(classes, coding=Coding(((0,), (VOID,)), frozenset()))
    elif _is_bare_list(root):
        refuse_counted_from_one(root, classes.names, everything)
    pairs = {part: found for part, found in everything.items() if part == wanted} or everything
    return {
        part: SegmentedImages(
            f"{root} ({part})" if part != "all" else str(root),
            classes.names,
            classes.palette,
            classes.coding,
            tuple(SegmentedImage(picture, mask) for picture, mask in found),
            layout.name if layout else "masks",
            () if layout and len(layout.train) > _FOLDERS else _alone(found),
            notes,
        )
        for part, found in pairs.items()
    }


def _alone(pairs: Sequence[tuple[ImageFile, ImageFile]]) -> tuple[LeftOut, ...]:
    files = [(one, other) for one, other in pairs if isinstance(one, Path) and isinstance(other, Path)]
    names = tuple(map(str, masks_alone(files)))
    return (LeftOut("their pictures are not there", "masks", names, len(names), len(names) + len(pairs)),) * bool(names)


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
    groups = grouped(ids)
    if any(one < 0 for one in flat_ids(groups)):
        raise DataError(f"{path}: ids are {listed(ids)}; expected numbers from 0 on, as masks have them")
    if len(set(flat_ids(groups))) < len(flat_ids(groups)):
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
    numbers |= {one for name, group in zip(names, groups, strict=True) if name in left_out for one in group}
    groups = tuple(tuple(one for one in group if one not in numbers) for group in groups)
    kept = [index for index, group in enumerate(groups) if group]
    hidden = {colours[index] for index in range(len(names)) if index not in kept} if colours else set()
    if not kept:
        raise DataError(f"{path}: all classes are unknown; expected at least one to tell apart")
    void = {0, VOID} - set(flat_ids(groups))
    chosen = tuple(colours[index] for index in kept) if colours else None
    coding = Coding(
        tuple(groups[index] for index in kept),
        frozenset(numbers | void),
        chosen if chosen and len(set(chosen)) == len(chosen) else None,  # a colour of two classes says nothing
        frozenset(hidden or {(0, 0, 0)}) - frozenset(chosen or ()),
    )
    return Classes(tuple(names[index] for index in kept), chosen, coding)


def _named_classes(root: Path) -> Classes | None:
    """From a file at ``root``, or from what is known of a data set; None if nobody says."""
    for name in NAMING:
        if (root / name).is_file():
            return read_classes(root / name)
    layout = find_layout(root)
    return None if layout is None else layout_classes(layout)


def layout_classes(layout: Layout) -> Classes:
    """Names, colours and numbers of the classes of a known data set."""
    names = load_labels(layout.labels) if layout.labels else layout.classes
    palette = load_palette(layout.labels) if layout.labels else layout.palette
    ids = grouped(layout.ids or range(layout.first, layout.first + len(names)))
    unknown = {VOID, *layout.unknown, *range(layout.first)}
    if layout.ids:  # the others are of classes that are not evaluated
        unknown |= set(range(-1, max(flat_ids(ids)) + 2)) - set(flat_ids(ids))
    return Classes(names, palette, Coding(ids, frozenset(unknown)))


def _is_bare_list(root: Path) -> bool:
    """Whether classes are named by a text, which has no numbers."""
    return next((root / name for name in NAMING if (root / name).is_file()), root).suffix == ".txt"


def _are_numbers(value: Any) -> bool:
    """Whether a value is a number of a class, or a list of them."""
    return type(value) is int or (isinstance(value, list) and value != [] and all(type(one) is int for one in value))
