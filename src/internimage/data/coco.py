"""Objects in images, as COCO's JSON describes them: reading, finding the files, bitmaps of the objects.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
import mmap
import os
import re
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from math import ceil
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np

from internimage.data.samples import Splits, divide
from internimage.errors import DataError, MissingExtraError

_FAR = 1e5  # pixels; drawing a polygon takes memory for every pixel of its outline
_OUTLINES = 0.1  # share of true masks that may be rectangles: a screen, a page
_PARTS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_FILES = (
    *("annotations/{}.json", "annotations/instances_{}2017.json", "annotations/instances_{}.json"),
    *("{}/_annotations.coco.json", "{}.json"),
)
_FOLDERS = ("{}", "{}2017", "images/{}", "images/{}2017", "images", "")


class ObjectAnnotation(NamedTuple):
    """One object, or a crowd of them.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the original image.
        label: index into the classes.
        segmentation: polygons, each x, y, x, y, ... in pixels, packed, since COCO's would fill gigabytes as lists of
            numbers; or run lengths, ``{"size": [height, width], "counts": text or list}``; None if the file has only a
            box.
        crowd: several objects that were not told apart; nothing to learn from, and nothing that counts as missed.
        area: of the mask, in pixels, as the file says; else of the box.
        identity: the annotation's id.
    """

    box: tuple[float, float, float, float]
    label: int
    segmentation: list[array[float]] | dict[str, Any] | None
    crowd: bool
    area: float
    identity: int

    @property
    def degenerate(self) -> bool:
        """Whether the box is less than a pixel wide or high: nothing can be learned from it."""
        x1, y1, x2, y2 = self.box
        return x2 - x1 < 1 or y2 - y1 < 1

    @property
    def outlined(self) -> bool:
        """Whether the segmentation is one polygon with the box's four corners, as exports of boxes write it."""
        if not isinstance(self.segmentation, list) or len(self.segmentation) != 1:
            return False
        (polygon,) = self.segmentation
        points = list(zip(polygon[::2], polygon[1::2], strict=True))
        points = points[:-1] if points[0] == points[-1] else points  # closed, as some write it
        x1, y1, x2, y2 = self.box
        corners = [(x1, y1), (x1, y2), (x2, y1), (x2, y2)]
        near = [
            next((i for i, (u, v) in enumerate(corners) if abs(u - x) <= 0.5 and abs(v - y) <= 0.5), -1)
            for x, y in points
        ]
        return sorted(near) == [0, 1, 2, 3]


class ObjectImage(NamedTuple):
    """An image file, its id in the JSON, its (height, width) and what is in it."""

    file: Path
    identity: int
    size: tuple[int, int]
    objects: tuple[ObjectAnnotation, ...]


@dataclass(frozen=True)
class ObjectImages:
    """Images with objects.

    Attributes:
        name: where they came from, for messages.
        classes: names of the classes; a label is an index into them.
        category_ids: the JSON's id of each class.
        images: in the order of the file.
    """

    name: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: tuple[ObjectImage, ...]

    def __len__(self) -> int:
        return len(self.images)

    def counts(self) -> list[int]:
        """Objects of each class, crowds left out."""
        counts = [0] * len(self.classes)
        for image in self.images:
            for one in image.objects:
                counts[one.label] += not one.crowd
        return counts

    def missing(self) -> list[Path]:
        """Image files that are not there; folders are listed, since a look for each file takes long on a network."""
        names: dict[Path, set[str]] = {}
        for folder in {image.file.parent for image in self.images}:
            names[folder] = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
        return [image.file for image in self.images if image.file.name not in names[image.file.parent]]

    @cached_property
    def has_masks(self) -> bool:
        """Whether every object has a mask, and they are more than outlines of the boxes."""
        objects = [one for image in self.images for one in image.objects if not one.crowd]
        if not objects or any(one.segmentation is None for one in objects):
            return False
        return sum(one.outlined for one in objects) <= _OUTLINES * len(objects)


def is_object_data(root: Path) -> bool:
    """Whether there are object annotations at ``root``, by a look for the word "bbox" where they would be."""
    root = root.expanduser()
    files = [root] if root.suffix.lower() == ".json" else [file for _, file, _ in _candidates(root)]
    return any(_mentions_boxes(file) for file in files if file.is_file())


def estimate_object_images(root: Path, most: int = 100_000) -> int:
    """How many images there are to train on, counted up to ``most`` without parsing; 0 if none are found."""
    root = root.expanduser()
    files = [root] if root.is_file() else [file for part, file, _ in _candidates(root) if part == "train"]
    found = next((file for file in files if file.is_file() and _mentions_boxes(file)), None)
    return 0 if found is None else _mentions(found, b'"file_name"', most)


def read_object_splits(root: Path, *, val_fraction: float = 0.2, seed: int = 0) -> Splits[ObjectImages]:
    """Find training, validation and test images, see :func:`read_object_parts`.

    Classes go together by name; the labels of all parts are those of ``train``.  Without validation images,
    ``val_fraction`` of the images is set aside, chosen by ``seed``.

    Raises:
        DataError: nothing of the kind is there, or a part has classes that the training images have not.
    """
    parts = read_object_parts(root)
    train = parts.get("train") or parts.get("all")
    if train is None:
        raise DataError(f"{root} has no training images; found {', '.join(parts)}")
    test = parts.get("test")
    set_aside = "val" not in parts
    if set_aside:
        images, taken = divide(train.images, train.name, val_fraction, seed)
        train, val = replace(train, images=images), replace(train, name=f"{train.name} (set aside)", images=taken)
    else:
        val = _with_classes(parts["val"], train)
    return Splits(train, val, _with_classes(test, train) if test else None, set_aside)


def read_object_parts(root: Path, wanted: str | None = None) -> dict[str, ObjectImages]:
    """The parts of a data set as they lie there: "train", "val", "test"; only the ``wanted`` one if there is such.

    Annotations are ``annotations/train.json``, ``annotations/instances_train2017.json``,
    ``annotations/instances_train.json``, ``train/_annotations.coco.json`` or ``train.json``; images lie in ``train``,
    ``train2017``, ``images/train``, ``images/train2017``, ``images`` or ``root`` itself: the first with any.
    Or ``root`` is one such file, which gives "all"; its images lie beside it, in ``images``, or in a folder of its
    name, there or one level higher.

    Raises:
        DataError: there are no annotations or no images, or :func:`read_coco` refuses the file.
    """
    root = root.expanduser()
    if root.suffix.lower() == ".json":
        stem = root.stem.removeprefix("instances_")
        above = root.parent.parent
        places = [root.parent, root.parent / root.stem, root.parent / "images", above / stem, above / "images" / stem]
        return {"all": _read(root, places)}
    parts: dict[str, ObjectImages] = {}
    there = [candidate for candidate in _candidates(root) if candidate[1].is_file()]
    for part, file, places in [one for one in there if one[0] == wanted] or there:
        if part not in parts:
            parts[part] = _read(file, places)
    if not parts:
        looked = ", ".join(template.format("train") for template in _FILES)
        raise DataError(f"{root} holds no annotations of objects; expected one of {looked}")
    return parts


def read_coco(annotations: Path, images: Path) -> ObjectImages:
    """Read one JSON file whose images lie in ``images`` at their ``file_name``.

    Classes come in the order of the categories' ids.  ``iscrowd`` and ``area`` may be missing; a missing or empty
    ``segmentation`` is none.  Boxes without extent or outside the image and files that are not there are findings of
    :func:`internimage.data.object_check.check_objects`, not errors.

    Raises:
        DataError: the file is unreadable, incomplete or contradicts itself.
    """
    return _parse(annotations, _load(annotations), images)


def bitmap(annotation: ObjectAnnotation, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """The pixels of an object in an image of ``size`` (height, width): bool (H, W).

    An object without segmentation is its box: the pixels whose centres are inside.  Polygons need faster-coco-eval.
    """
    if annotation.segmentation is None:
        pixels = np.zeros(size, bool)
        x1, y1, x2, y2 = (max(0, ceil(edge - 0.5)) for edge in annotation.box)
        pixels[y1:y2, x1:x2] = True
        return pixels
    if isinstance(annotation.segmentation, dict):
        counts = annotation.segmentation["counts"]
        runs = np.array(_decompress(counts) if isinstance(counts, str) else counts, np.int64)
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[::-1]).T  # column by column, zeros first
    mask = _mask_functions()
    filled: np.ndarray[Any, Any] = mask.decode(_runs(annotation.segmentation, size))
    return filled.view(bool)


def mask_bounds(annotation: ObjectAnnotation, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """x1, y1, x2, y2 around the pixels of an object that has a segmentation; None if there are no pixels."""
    mask, runs = _mask_functions(), _runs(annotation.segmentation, size)
    if not mask.area(runs):
        return None
    x, y, width, height = mask.toBbox(runs).tolist()
    return x, y, x + width, y + height


def _mask_functions() -> Any:
    try:
        from faster_coco_eval.core import mask  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("masks need faster-coco-eval: pip install 'internimage[detection]'") from error
    return mask


def _runs(segmentation: Any, size: tuple[int, int]) -> Any:
    """The segmentation as one compressed list of run lengths."""
    mask = _mask_functions()
    if isinstance(segmentation, list):
        return mask.merge(mask.frPyObjects([list(polygon) for polygon in segmentation], *size))
    if isinstance(segmentation["counts"], list):
        return mask.frPyObjects(segmentation, *size)
    return {"size": segmentation["size"], "counts": segmentation["counts"].encode()}


# Finding files


def _candidates(root: Path) -> Iterator[tuple[str, Path, list[Path]]]:
    """Part, annotation file and folders of images, wherever they may be."""
    for part, names in _PARTS.items():
        for name in names:
            places = [root / folder.format(name) for folder in _FOLDERS]
            yield from ((part, root / file.format(name), places) for file in _FILES)


def _mentions_boxes(path: Path) -> bool:
    return _mentions(path, b'"bbox"', 1) > 0


def _mentions(path: Path, word: bytes, most: int) -> int:
    """How often a file has a word, counted up to ``most``."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return sum(1 for _ in islice(re.finditer(re.escape(word), content), most))
    except (OSError, ValueError):  # an empty file has no map
        return 0


def _read(path: Path, places: Sequence[Path]) -> ObjectImages:
    content = _load(path)
    names = [
        entry["file_name"]
        for entry in _list(path, content, "images")
        if isinstance(entry, dict) and isinstance(entry.get("file_name"), str)
    ]
    folder = next((place for name in names for place in places if (place / name).is_file()), None)
    if names and folder is None:
        raise DataError(f"{path}: {names[0]} is in none of {', '.join(map(str, places))}")
    return _parse(path, content, folder or path.parent)


def _with_classes(part: ObjectImages, train: ObjectImages) -> ObjectImages:
    """The part with labels of ``train``; a class that it has not gets an id that no other has.

    Classes without objects, as lists of categories often have them, are dropped where ``train`` has not such.
    """
    if part.classes == train.classes:
        return part
    used = {part.classes[one.label] for image in part.images for one in image.objects}
    if extra := sorted(used - set(train.classes)):
        raise DataError(f"{part.name} has objects of classes that {train.name} has not: {', '.join(extra[:5])}")
    known = dict(zip(part.classes, part.category_ids, strict=True))
    free = max(part.category_ids) + 1
    ids = tuple(known.get(name, free + number) for number, name in enumerate(train.classes))
    label = [train.classes.index(name) if name in used else -1 for name in part.classes]
    images = tuple(
        image._replace(objects=tuple(one._replace(label=label[one.label]) for one in image.objects))
        for image in part.images
    )
    return ObjectImages(part.name, train.classes, ids, images)


# Reading one file


def _parse(path: Path, content: Any, folder: Path) -> ObjectImages:
    ids, classes = _categories(path, _list(path, content, "categories"))
    label = {identity: number for number, identity in enumerate(ids)}
    files: dict[int, tuple[Path, tuple[int, int]]] = {}
    for index, entry in enumerate(_list(path, content, "images")):
        where = f"{path} images[{index}]"
        identity, height, width = _whole(where, entry, "id", "height", "width")
        if identity in files:
            raise DataError(f"{where}: the id {identity} is there twice; expected each id once")
        if min(height, width) < 1:
            raise DataError(f"{where} is {width} wide and {height} high; expected 1 or more pixels")
        files[identity] = folder / _file_name(where, entry), (height, width)
    objects: dict[int, list[ObjectAnnotation]] = defaultdict(list)
    seen: set[int] = set()
    for index, entry in enumerate(_list(path, content, "annotations", empty=True)):
        where = f"{path} annotations[{index}]"
        identity, image, category = _whole(where, entry, "id", "image_id", "category_id")
        if identity in seen:
            raise DataError(f"{where}: the id {identity} is there twice; expected each id once")
        seen.add(identity)
        if image not in files:
            raise DataError(f"{where}: image {image} is not in the file; expected the id of one of its images")
        if category not in label:
            raise DataError(
                f"{where}: category {category} is not in the file; expected the id of one of its categories"
            )
        objects[image].append(_annotation(where, entry, identity, label[category], files[image][1]))
    images = tuple(ObjectImage(file, key, size, tuple(objects[key])) for key, (file, size) in files.items())
    return ObjectImages(str(path), classes, ids, images)


def _categories(path: Path, entries: list[Any]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Ids in ascending order, and their names."""
    names: dict[int, str] = {}
    for index, entry in enumerate(entries):
        where = f"{path} categories[{index}]"
        (identity,) = _whole(where, entry, "id")
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            raise DataError(f"{where}: name is {name!r}; expected a text")
        if identity in names or name in names.values():
            raise DataError(f"{where}: {identity}, {name} is there twice; expected each id and each name once")
        names[identity] = name
    ids = tuple(sorted(names))
    return ids, tuple(names[identity] for identity in ids)


def _annotation(
    where: str, entry: dict[str, Any], identity: int, label: int, size: tuple[int, int]
) -> ObjectAnnotation:
    box: Any = entry.get("bbox")
    if not _numbers(box) or len(box) != 4:
        raise DataError(f"{where}: bbox is {_short(box)}; expected x, y, width and height in pixels")
    x, y, width, height = map(float, box)
    crowd = entry.get("iscrowd")
    if crowd not in (None, 0, 1):
        raise DataError(f"{where}: iscrowd is {_short(crowd)}; expected 0 or 1")
    area = entry.get("area")
    if area is None:
        area = max(0.0, width) * max(0.0, height)
    elif type(area) not in (int, float) or not 0 <= area <= _FAR**2:
        raise DataError(f"{where}: area is {_short(area)}; expected a number of pixels")
    segmentation = entry.get("segmentation") or None
    if isinstance(segmentation, list):
        for polygon in segmentation:
            if not _numbers(polygon) or len(polygon) < 6 or len(polygon) % 2:
                raise DataError(
                    f"{where}: segmentation has the polygon {_short(polygon)}; expected x, y, ... of 3 or more points"
                )
        segmentation = [array("d", polygon) for polygon in segmentation]
    elif segmentation is not None and not _fills(segmentation, size):
        raise DataError(
            f"{where}: segmentation is {_short(segmentation)}; expected polygons, or size {list(size)} as in images "
            f"and counts that add up to {size[0] * size[1]}"
        )
    return ObjectAnnotation((x, y, x + width, y + height), label, segmentation, bool(crowd), float(area), identity)


def _fills(segmentation: Any, size: tuple[int, int]) -> bool:
    """Whether run lengths describe an image of ``size``: what reads them later writes as far as they reach."""
    if not isinstance(segmentation, dict) or segmentation.get("size") != list(size):
        return False
    if not all(type(side) is int for side in segmentation["size"]):
        return False
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts = _decompress(counts)
    if not isinstance(counts, list) or not all(type(run) is int and run >= 0 for run in counts):
        return False
    return sum(counts) == size[0] * size[1]


def _decompress(text: str) -> list[int] | None:
    """Run lengths from COCO's text: five bits a letter, numbers from the fourth on relative to the last but one.

    None if it is broken.
    """
    codes = np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return None
    last = np.flatnonzero(~codes & 32)  # letters that end a number
    start = np.concatenate(([0], last[:-1] + 1))
    if (last - start).max() > 6:
        return None
    place = 5 * (np.arange(len(codes)) - np.repeat(start, last - start + 1))
    runs = np.add.reduceat((codes & 31) << place, start)
    runs -= np.where(codes[last] & 16, np.int64(32) << place[last], 0)
    runs[1::2], runs[2::2] = runs[1::2].cumsum(), runs[2::2].cumsum()
    found: list[int] = runs.tolist()
    return found


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON: {error}") from error


def _list(path: Path, content: Any, key: str, *, empty: bool = False) -> list[Any]:
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not (entries or empty):
        raise DataError(f"{path} has no list {key!r}; expected an object with images, annotations and categories")
    return entries


def _whole(where: str, entry: Any, *keys: str) -> list[int]:
    values = [entry.get(key) for key in keys] if isinstance(entry, dict) else []
    if not values or not all(type(v) is int or (type(v) is float and v.is_integer()) for v in values):
        raise DataError(f"{where} is {_short(entry)}; expected an object with the whole numbers {', '.join(keys)}")
    return [int(entry[key]) for key in keys]


def _file_name(where: str, entry: dict[str, Any]) -> str:
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{where}: file_name is {_short(name)}; expected a path below the folder of images")
    depth = 0
    for step in PurePosixPath(name).parts:
        depth += -1 if step == ".." else 1
        if depth < 0 or step == "/" or PureWindowsPath(name).drive:
            raise DataError(f"{where}: file_name {name} leaves the folder of images; expected a path below it")
    return name


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) in (int, float) and -_FAR <= v <= _FAR for v in values)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
