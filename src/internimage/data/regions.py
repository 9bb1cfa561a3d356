"""Images with a class for every pixel: finding pictures and masks, and what the masks' numbers mean."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from internimage.data.coco import ObjectImage, bitmap, estimate_object_images, is_object_data, read_object_parts
from internimage.data.region_files import Colour, find_layout, find_pairs, has_pairs
from internimage.data.samples import Splits, divide
from internimage.errors import DataError, ImageReadError
from internimage.images.masks import UNKNOWN, grey_numbers, read_mask
from internimage.labels import load_labels, load_palette

_STRANGE = -2
_VOID = 255  # what most tools write where a pixel belongs to no class
_BACKGROUND, _FOREGROUND = "background", "foreground"
_SEEN_FIRST = 2_000  # masks that are looked at for their numbers where no file names the classes
_LOOKED_AT = 100  # masks, where a file names the classes
_KEYS = {"classes", "ids", "palette", "unknown", "void_index"}


class RegionImage(NamedTuple):
    """A picture and where its classes are: a mask file, or objects that are painted over a background."""

    file: Path
    mask: Path | ObjectImage


@dataclass(frozen=True)
class Coding:
    """What the pixels of masks mean.

    Attributes:
        ids: the numbers that stand for each class.
        unknown: numbers of pixels that teach nothing and are not measured.
        colours: the colour that stands for each class, in masks of colours; others are unknown if listed so.
        unknown_colours: as ``unknown``.
    """

    ids: tuple[tuple[int, ...], ...]
    unknown: frozenset[int] = frozenset({_VOID})
    colours: tuple[Colour, ...] | None = None
    unknown_colours: frozenset[Colour] = frozenset({(0, 0, 0)})

    def decode(self, pixels: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
        """Class numbers (H, W) int32, -1 where unknown, of pixels as :func:`read_mask` gives them.

        Raises:
            ImageReadError: a number or colour stands for no class.
        """
        if pixels.ndim == 3:
            numbers = grey_numbers(pixels)
            if numbers is None or self._knows(pixels):
                return self._decode_colours(pixels, name)
            pixels = numbers  # grey stored as RGB
        table = np.full(int(pixels.max()) + 1, _STRANGE, np.int32)
        meanings = dict.fromkeys(self.unknown, UNKNOWN)
        meanings |= {value: number for number, values in enumerate(self.ids) for value in values}
        for value, number in meanings.items():
            if 0 <= value < len(table):
                table[value] = number
        decoded: np.ndarray[Any, Any] = table[pixels.clip(0)]
        decoded[pixels < 0] = _STRANGE
        if (decoded == _STRANGE).any():
            strange = np.unique(pixels[decoded == _STRANGE]).tolist()
            raise ImageReadError(
                f"{name}: the numbers {_listed(strange)} stand for no class; expected {_listed(_flat(self.ids))}, or "
                f"{_listed(sorted(self.unknown))} for unknown"
            )
        return decoded

    def _knows(self, pixels: np.ndarray[Any, Any]) -> bool:
        """Whether all colours of a mask stand for something."""
        known = [_packed(colour) for colour in (*self.unknown_colours, *(self.colours or ()))]
        return self.colours is not None and bool(np.isin(_pack(pixels), known).all())

    def _decode_colours(self, pixels: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
        if self.colours is None:
            raise ImageReadError(f"{name}: a mask of colours; expected numbers, or a classes.json with a palette")
        packed = _pack(pixels)
        meanings = {_packed(colour): UNKNOWN for colour in self.unknown_colours}
        meanings |= {_packed(colour): number for number, colour in enumerate(self.colours)}
        values = np.array(sorted(meanings), np.int32)
        place = np.searchsorted(values, packed).clip(0, len(values) - 1)
        if (strange := values[place] != packed).any():
            listed = _listed([_unpacked(value) for value in np.unique(packed[strange]).tolist()])
            raise ImageReadError(f"{name}: the colours {listed} stand for no class; expected {_listed(self.colours)}")
        decoded: np.ndarray[Any, Any] = np.array([meanings[value] for value in values.tolist()], np.int32)[place]
        return decoded


@dataclass(frozen=True)
class RegionImages:
    """Pictures with classes of pixels.

    Attributes:
        name: where they came from, for messages.
        classes: names of the classes.
        palette: a colour of each; None for colours that are made up.
        coding: what the masks' numbers mean.
        images: sorted by file.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...] | None
    coding: Coding
    images: tuple[RegionImage, ...]

    def __len__(self) -> int:
        return len(self.images)

    def missing(self) -> list[RegionImage]:
        """Pictures without a mask."""
        return [image for image in self.images if isinstance(image.mask, Path) and not image.mask.exists()]

    def truth(self, image: RegionImage) -> np.ndarray[Any, Any]:
        """Class numbers (H, W) int32 of one picture, -1 where unknown.

        Raises:
            ImageReadError: the mask cannot be read, or has numbers that stand for no class.
        """
        if isinstance(image.mask, Path):
            return self.coding.decode(read_mask(image.mask), str(image.mask))
        painted = np.zeros(image.mask.size, np.int32)
        for one in sorted(image.mask.objects, key=lambda one: -one.area):  # small ones lie on large ones
            painted[bitmap(one, image.mask.size)] = one.label + 1
        return painted


@dataclass(frozen=True)
class Classes:
    """Names and colours (None for colours that are made up) of classes, and what stands for them in masks."""

    names: tuple[str, ...]
    palette: tuple[Colour, ...] | None
    coding: Coding


def is_region_data(root: Path) -> bool:
    """Whether pictures and masks lie at ``root``."""
    root = root.expanduser()
    return has_pairs(root)


def estimate_region_images(root: Path) -> int:
    """How many images there are to train on; 0 if none are found."""
    root = root.expanduser()
    if is_object_data(root):
        return estimate_object_images(root)
    try:
        pairs = find_pairs(root, "train")
    except DataError:
        return 0
    return len(next(iter(pairs.values()), ()))


def read_region_splits(root: Path, *, val_fraction: float = 0.2, seed: int = 0) -> Splits[RegionImages]:
    """Find training, validation and test images, see :func:`read_region_parts`.

    Without validation images, ``val_fraction`` of the images is set aside, chosen by ``seed``.

    Raises:
        DataError: nothing of the kind is there.
    """
    parts = read_region_parts(root)
    train = parts.get("train") or parts.get("all")
    if train is None:
        raise DataError(f"{root} has no training images; found {', '.join(parts)}")
    if "val" in parts:
        return Splits(train, parts["val"], parts.get("test"), False)
    images, taken = divide(train.images, train.name, val_fraction, seed)
    val = replace(train, name=f"{train.name} (set aside)", images=taken)
    return Splits(replace(train, images=images), val, parts.get("test"), True)


def read_region_parts(root: Path, wanted: str | None = None) -> dict[str, RegionImages]:
    """The parts of a data set as they lie there: "train", "val", "test", or "all"; only ``wanted`` if there is such.

    Where pictures and masks may lie is said in :mod:`internimage.data.region_files`.  What the masks' numbers mean is
    said by ``classes.json`` or ``classes.txt`` at ``root``, see :func:`read_classes`; without, the numbers that the
    masks have are the classes.  Or ``root`` has objects as COCO describes them, which are painted over a background.

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
    elif classes.coding == Coding(((0,), (1,)), frozenset({_VOID})) and _is_black_and_white(everything):
        classes = replace(classes, coding=Coding(((0,), (_VOID,)), frozenset()))
    pairs = {part: found for part, found in everything.items() if part == wanted} or everything
    return {
        part: RegionImages(
            f"{root} ({part})" if part != "all" else str(root),
            classes.names,
            classes.palette,
            classes.coding,
            tuple(RegionImage(picture, mask) for picture, mask in sorted(found)),
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
        raise DataError(f"{path} has {_listed(others)}; expected classes, ids, palette and unknown")
    names = content["classes"]
    unknown = content.get("unknown", [content["void_index"]] if "void_index" in content else [])
    if not isinstance(unknown, list):
        raise DataError(f"{path}: unknown is {unknown!r}; expected a list of numbers or names")
    return _classes(path, names, content.get("ids", list(range(len(names)))), content.get("palette"), unknown)


def _classes(path: Path, names: Any, ids: Any, palette: Any, unknown: list[Any]) -> Classes:
    if not names or not all(isinstance(name, str) and name.strip() for name in names) or len(set(names)) < len(names):
        raise DataError(f"{path}: the classes' names are {_listed(names)}; expected texts, each of them once")
    if not isinstance(ids, list) or len(ids) != len(names) or not all(map(_are_numbers, ids)):
        raise DataError(
            f"{path}: ids are {_listed(ids)}; expected a whole number, or a list of such, for each of {len(names)} "
            "classes"
        )
    grouped = _grouped(ids)
    if any(one < 0 for one in _flat(grouped)):
        raise DataError(f"{path}: ids are {_listed(ids)}; expected numbers from 0 on, as masks have them")
    if len(set(_flat(grouped))) < len(_flat(grouped)):
        raise DataError(f"{path}: ids are {_listed(ids)}; expected each number once")
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
        raise DataError(f"{path}: unknown has {_listed(wrong)}; expected whole numbers or names of classes")
    left_out = {name for name in unknown if isinstance(name, str)}
    if strange := left_out - set(names):
        raise DataError(f"{path}: unknown has {_listed(sorted(strange))}, which is no class")
    numbers = {one for one in unknown if type(one) is int}
    numbers |= {one for name, group in zip(names, grouped, strict=True) if name in left_out for one in group}
    grouped = tuple(tuple(one for one in group if one not in numbers) for group in grouped)
    kept = [index for index, group in enumerate(grouped) if group]
    hidden = {colours[index] for index in range(len(names)) if index not in kept} if colours else set()
    if not kept:
        raise DataError(f"{path}: all classes are unknown; expected at least one to tell apart")
    void = {0, _VOID} - set(_flat(grouped))
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
    unknown = {_VOID, *layout.unknown, *range(layout.first)}
    if layout.ids:  # the others are of classes that are not evaluated
        unknown |= set(range(-1, max(_flat(ids)) + 2)) - set(_flat(ids))
    return Classes(names, palette, Coding(ids, frozenset(unknown)))


def _seen_classes(root: Path, pairs: dict[str, list[tuple[Path, Path]]]) -> Classes:
    """The numbers that masks have, where no file names the classes."""
    seen = _seen_numbers(pairs, _SEEN_FIRST)
    if seen in ({0, _VOID}, {0, 1}, {0, 1, _VOID}):  # black and white
        ids = _grouped([0, 1 if 1 in seen else _VOID])
        return Classes((_BACKGROUND, _FOREGROUND), None, Coding(ids, frozenset({_VOID} - set(_flat(ids)))))
    ids = _grouped(sorted(seen - {_VOID}))
    if not ids:
        raise DataError(f"{root}: none of the masks has a class, or none can be read (internimage data check)")
    return Classes(tuple(f"class {one}" for one in _flat(ids)), None, Coding(ids))


def _is_black_and_white(pairs: dict[str, list[tuple[Path, Path]]]) -> bool:
    """Whether masks are of 0 and 255, by a look at some: numbers of two named classes are 0 and 1 otherwise."""
    return _seen_numbers(pairs, _LOOKED_AT) == {0, _VOID}


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


def _painted(root: Path, wanted: str | None) -> dict[str, RegionImages]:
    parts = {}
    for name, data in read_object_parts(root, wanted).items():
        if any(one.segmentation is None for image in data.images for one in image.objects):
            raise DataError(f"{data.name}: not every object has a mask; a segmenter needs them")
        classes = (_BACKGROUND, *data.classes)
        images = tuple(RegionImage(image.file, image) for image in data.images)
        parts[name] = RegionImages(data.name, classes, None, Coding(_grouped(range(len(classes)))), images)
    if len({part.classes for part in parts.values()}) > 1:
        raise DataError(f"{root}: the parts have different classes; expected one list of categories")
    return parts


def _are_numbers(value: Any) -> bool:
    """Whether a value is a number of a class, or a list of them."""
    return type(value) is int or (isinstance(value, list) and value != [] and all(type(one) is int for one in value))


def _grouped(ids: Iterable[Any]) -> tuple[tuple[int, ...], ...]:
    """The numbers of each class, of which most have one."""
    return tuple((one,) if isinstance(one, int) else tuple(one) for one in ids)


def _flat(ids: Iterable[tuple[int, ...]]) -> list[int]:
    return [one for group in ids for one in group]


def _pack(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A number (H, W) for each colour (H, W, 3)."""
    packed: np.ndarray[Any, Any] = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    return packed


def _packed(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _unpacked(value: int) -> Colour:
    return value >> 16, value >> 8 & 255, value & 255


def _listed(values: Any) -> str:
    if not isinstance(values, list | tuple):
        return repr(values)
    return ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")
