"""Images with a class for every pixel: finding pictures and masks, and what the masks' numbers mean."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from internimage.data.coco import ObjectImage, bitmap, estimate_object_images, is_object_data, read_object_parts
from internimage.data.samples import Splits, divide
from internimage.errors import DataError, ImageReadError
from internimage.images import IMAGE_SUFFIXES
from internimage.images.masks import UNKNOWN, read_mask
from internimage.labels import load_labels, load_palette

Colour = tuple[int, int, int]
_STRANGE = -2
_VOID = 255  # what most tools write where a pixel belongs to no class
_PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_MASK_FOLDERS = ("masks", "labels", "annotations", "mask", "label")
_BACKGROUND = "background"
_SEEN_FIRST = 200  # masks that are looked at for their numbers where no file names the classes


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
            return self._decode_colours(pixels, name)
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

    def _decode_colours(self, pixels: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
        if self.colours is None:
            raise ImageReadError(f"{name}: a mask of colours; expected numbers, or a classes.json with a palette")
        packed = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
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
class _Layout:
    """A data set that is recognised by its folders, see ``layouts.json``."""

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


@dataclass(frozen=True)
class Classes:
    """Names and colours (None for colours that are made up) of classes, and what stands for them in masks."""

    names: tuple[str, ...]
    palette: tuple[Colour, ...] | None
    coding: Coding


def is_region_data(root: Path) -> bool:
    """Whether pictures and masks lie at ``root``."""
    root = root.expanduser()
    return root.is_dir() and (_layout(root) is not None or any(True for _ in _folders(root)))


def estimate_region_images(root: Path) -> int:
    """How many images there are to train on; 0 if none are found."""
    root = root.expanduser()
    if is_object_data(root):
        return estimate_object_images(root)
    try:
        pairs = _parts(root, "train")
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

    Pictures and masks of the same name, whatever the suffix, lie in ``train/images`` and ``train/masks`` (or
    ``labels``, ``annotations``), in ``images/train`` and ``masks/train``, or without parts in ``images`` and
    ``masks``; or as ADE20K, Cityscapes, CamVid and the others of ``layouts.json`` have them.  What the numbers mean is
    said by ``classes.json`` or ``classes.txt`` at ``root``, see :func:`read_classes`; without, the numbers that the
    masks have are the classes.  Or ``root`` has objects as COCO describes them, which are painted over a background.

    Raises:
        DataError: nothing of the kind is there, pictures lack masks, or the classes' file contradicts itself.
    """
    root = root.expanduser()
    if is_object_data(root):
        return _painted(root, wanted)
    pairs = _parts(root, wanted)
    if not pairs:
        raise DataError(
            f"{root} holds no pictures with masks; expected train/images and train/masks, or images and masks"
        )
    classes = _named_classes(root) or _seen_classes(pairs)
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

    ``classes.txt`` has a name a line, the first of number 0.  ``classes.json`` is an object with "classes" (names) and,
    if they differ from 0, 1, 2 ..., "ids" (for each a number, or a list of numbers that become one class), and if there
    are such, "palette" (red, green, blue) and "unknown" (numbers or names of classes that teach nothing; so do 0 and
    255 unless a class has them); or a list of objects with "id", "name" and, if there is one, "color".

    Raises:
        DataError: the file is unreadable or contradicts itself.
    """
    if path.suffix == ".txt":
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return _classes(path, names, list(range(len(names))), None, [])
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable JSON: {error}") from error
    if isinstance(content, list) and all(isinstance(one, dict) for one in content):
        colours = [one.get("color") for one in content]
        palette = colours if content and all(colours) else None
        return _classes(path, [one.get("name") for one in content], [one.get("id") for one in content], palette, [])
    if not isinstance(content, dict) or not isinstance(content.get("classes"), list):
        raise DataError(f"{path} has no list 'classes'; expected names, and if need be ids, palette and unknown")
    names = content["classes"]
    unknown = content.get("unknown", [content["void_index"]] if "void_index" in content else [])
    if not isinstance(unknown, list):
        raise DataError(f"{path}: unknown is {unknown!r}; expected a list of numbers or names")
    return _classes(path, names, content.get("ids", list(range(len(names)))), content.get("palette"), unknown)


def _classes(path: Path, names: Any, ids: Any, palette: Any, unknown: list[Any]) -> Classes:
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise DataError(f"{path}: the classes' names are {_listed(names)}; expected texts, each of them once")
    if not isinstance(ids, list) or len(ids) != len(names) or not all(map(_are_numbers, ids)):
        raise DataError(
            f"{path}: ids are {_listed(ids)}; expected a whole number, or a list of such, for each of {len(names)} "
            "classes"
        )
    grouped = _grouped(ids)
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
    layout = _layout(root)
    if layout is None:
        return None
    names = load_labels(layout.labels) if layout.labels else layout.classes
    palette = load_palette(layout.labels) if layout.labels else layout.palette
    ids = _grouped(layout.ids or range(layout.first, layout.first + len(names)))
    unknown = {_VOID, *layout.unknown, *range(layout.first)}
    if layout.ids:  # the others are of classes that are not evaluated
        unknown |= set(range(-1, max(_flat(ids)) + 2)) - set(_flat(ids))
    return Classes(names, palette, Coding(ids, frozenset(unknown)))


def _seen_classes(pairs: dict[str, list[tuple[Path, Path]]]) -> Classes:
    """The numbers that masks have, where no file names the classes."""
    masks = sorted(mask for found in pairs.values() for _, mask in found)
    step = max(1, len(masks) // _SEEN_FIRST)
    seen: set[int] = set()
    for mask in masks[::step]:
        try:
            pixels = read_mask(mask)
        except ImageReadError:
            continue  # training says which files cannot be read
        if pixels.ndim == 3:
            raise DataError(f"{mask} is a mask of colours; a classes.json with classes and palette has to name them")
        seen |= set(np.unique(pixels).tolist())
    if seen == {0, _VOID}:  # black and white
        return Classes((_BACKGROUND, "foreground"), None, Coding(((0,), (_VOID,)), frozenset()))
    ids = sorted(seen - {_VOID})
    if not ids:
        raise DataError(f"none of the masks beside {pairs[next(iter(pairs))][0][0]} has a class")
    return Classes(tuple(f"class {one}" for one in ids), None, Coding(_grouped(ids)))


def _painted(root: Path, wanted: str | None) -> dict[str, RegionImages]:
    parts = {}
    for name, data in read_object_parts(root, wanted).items():
        classes = (_BACKGROUND, *data.classes)
        images = tuple(RegionImage(image.file, image) for image in data.images)
        parts[name] = RegionImages(data.name, classes, None, Coding(_grouped(range(len(classes)))), images)
    if len({part.classes for part in parts.values()}) > 1:
        raise DataError(f"{root}: the parts have different classes; expected one list of categories")
    return parts


# Finding files


def _layout(root: Path) -> _Layout | None:
    known = json.loads(files("internimage.data").joinpath("layouts.json").read_text(encoding="utf-8"))
    for entry in known:
        if (root / entry["marker"]).exists() and (root / entry["train"][0]).is_dir():
            return _Layout(**{key: _frozen(value) for key, value in entry.items()})
    return None


def _frozen(value: Any) -> Any:
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value


def _parts(root: Path, wanted: str | None) -> dict[str, list[tuple[Path, Path]]]:
    """Pictures and masks of each part that has any; only of the ``wanted`` one if there is such."""
    layout = _layout(root)
    if layout is not None:
        places = {part: getattr(layout, part) for part in ("train", "val", "test")}
        there = [(part, place) for part, place in places.items() if place and (root / place[0]).is_dir()]
    else:
        there = [(part, (str(images), str(masks))) for part, images, masks in _folders(root)]
    pairs: dict[str, list[tuple[Path, Path]]] = {}
    for part, place in [one for one in there if one[0] == wanted] or there:
        if part not in pairs and (found := list(_pairs(root, place, layout))):
            pairs[part] = found
    return pairs


def _folders(root: Path) -> Iterator[tuple[str, Path, Path]]:
    """Part, folder of pictures and folder of masks, wherever they may be."""
    for part, names in _PARTS.items():
        for name in names:
            for masks in _MASK_FOLDERS:
                if (root / name / "images").is_dir() and (root / name / masks).is_dir():
                    yield part, root / name / "images", root / name / masks
                if (root / "images" / name).is_dir() and (root / masks / name).is_dir():
                    yield part, root / "images" / name, root / masks / name
    for masks in _MASK_FOLDERS:
        if (root / "images").is_dir() and (root / masks).is_dir() and _pictures(root / "images"):
            yield "all", root / "images", root / masks


def _pairs(root: Path, places: Sequence[str], layout: _Layout | None) -> Iterator[tuple[Path, Path]]:
    """Pictures and the masks of the same name."""
    images, masks = root / places[0], root / places[1]
    ends = (layout.image, layout.mask) if layout else ("", "")
    pictures = _by_name(images, ends[0])
    drawn = _by_name(masks, ends[1])
    if len(places) > 2:
        names = {
            line.split()[0] for line in (root / places[2]).read_text(encoding="utf-8").splitlines() if line.strip()
        }
        pictures = {name: path for name, path in pictures.items() if name in names}
    if missing := sorted(set(pictures) - set(drawn)):
        raise DataError(
            f"{len(missing)} of {len(pictures)} pictures in {images} have no mask of their name in {masks}, such as "
            f"{pictures[missing[0]].name}; add masks or move the pictures elsewhere"
        )
    return ((path, drawn[name]) for name, path in pictures.items())


def _by_name(folder: Path, end: str) -> dict[str, Path]:
    """Files below a folder by their path in it, without ``end`` or else the suffix."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if not path.is_file() or path.suffix.lower() not in IMAGE_SUFFIXES or not path.name.endswith(end):
            continue
        name = str(inner).removesuffix(end) if end else str(inner.with_suffix(""))
        if name in found:
            raise DataError(f"{path} and {found[name].name} have one name; expected one file of each name")
        found[name] = path
    return found


def _pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())


def _are_numbers(value: Any) -> bool:
    """Whether a value is a number of a class, or a list of them."""
    return type(value) is int or (isinstance(value, list) and value != [] and all(type(one) is int for one in value))


def _grouped(ids: Iterable[Any]) -> tuple[tuple[int, ...], ...]:
    """The numbers of each class, of which most have one."""
    return tuple((one,) if isinstance(one, int) else tuple(one) for one in ids)


def _flat(ids: Iterable[tuple[int, ...]]) -> list[int]:
    return [one for group in ids for one in group]


def _packed(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _unpacked(value: int) -> Colour:
    return value >> 16, value >> 8 & 255, value & 255


def _listed(values: Any) -> str:
    if not isinstance(values, list | tuple):
        return repr(values)
    return ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")
