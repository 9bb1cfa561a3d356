"""Objects in images, as COCO's JSON describes them: reading, finding the files, bitmaps of the objects.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
import mmap
import re
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from internimage.data.objects import ObjectAnnotation, ObjectImage, ObjectImages, decompress
from internimage.data.splits import Splits, divide
from internimage.errors import DataError

_FAR = 1e5  # pixels; drawing a polygon takes memory for every pixel of its outline
_PARTS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_FILES = (
    *("annotations/{}.json", "annotations/instances_{}2017.json", "annotations/instances_{}.json"),
    *("{}/_annotations.coco.json", "{}.json"),
)
_FOLDERS = ("{}", "{}2017", "images/{}", "images/{}2017", "images", "")


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
    :func:`internimage.tasks.detection.check.check_objects`, not errors.

    Raises:
        DataError: the file is unreadable, incomplete or contradicts itself.
    """
    return _parse(annotations, _load(annotations), images)


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
        counts = decompress(counts)
    if not isinstance(counts, list) or not all(type(run) is int and run >= 0 for run in counts):
        return False
    return sum(counts) == size[0] * size[1]


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
