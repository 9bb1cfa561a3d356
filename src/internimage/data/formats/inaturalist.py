"""iNaturalist 2018: COCO-like JSON with images and categories, and one with time and place of each photo.

Format: https://github.com/visipedia/inat_comp/tree/master/2018
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from internimage.data.samples import LabelledImage, LabelledImages, TimeAndPlace
from internimage.errors import DataError

_NAME = re.compile(r"(train|val)20\d\d\.json")
_SPECIES = "categories.json"
_LOOK = 2**20  # bytes
_DATE = re.compile(r"\s*\d+-(\d{1,2})-\d+")


def is_inaturalist(path: Path) -> bool:
    """Whether a file is called as they are, or has images, annotations and categories, by a look at both ends."""
    if _NAME.fullmatch(path.name):
        return True
    try:
        with path.open("rb") as file:
            ends = file.read(_LOOK)
            file.seek(max(0, path.stat().st_size - _LOOK))
            ends += file.read()
    except OSError:
        return False
    return b'"categories"' in ends and (b'"images"' in ends or b'"annotations"' in ends)


def read_inaturalist(path: Path) -> LabelledImages:
    """``train2018.json`` or ``val2018.json``; images lie below its folder at their ``file_name``.

    Classes have the names and the order of its ``categories``; where those names are numbers, as the set's authors hid
    them, and ``categories.json`` lies beside, they have the names of that.  Time and place come from
    ``train2018_locations.json`` or ``val2018_locations.json`` beside it, if that is there; photos that it leaves out
    have none.
    """
    content = _load(path)
    images, annotations, categories = (_list(path, content, key) for key in ("images", "annotations", "categories"))
    classes, number = _categories(path, categories)
    classes, notes = _species(path.with_name(_SPECIES), list(number), classes)
    label_of: dict[Any, int] = {}
    for index, entry in enumerate(annotations):
        where = f"{path} annotations[{index}]"
        image, category = _fields(where, entry, "image_id", "category_id")
        if category not in number:
            raise DataError(
                f"{where}: category {category} is not in the file; expected the id of one of its categories"
            )
        if image in label_of:
            raise DataError(f"{where}: image {image} is annotated twice; expected one class an image")
        label_of[image] = number[category]
    taken = _locations(path.with_name(f"{path.stem}_locations.json"))
    samples = []
    for index, entry in enumerate(images):
        where = f"{path} images[{index}]"
        image, file = _fields(where, entry, "id", "file_name")
        if image not in label_of or not isinstance(file, str):
            raise DataError(f"{where}: image {image} has no annotation of its own, or no file name; expected both")
        samples.append(LabelledImage(path.parent / file, label_of.pop(image), taken.get(image)))
    if label_of:
        raise DataError(f"{path}: image {next(iter(label_of))} is annotated but not in images; expected its file_name")
    return LabelledImages(str(path), classes, tuple(samples), "iNaturalist's JSON", notes=notes)


def _categories(path: Path, entries: list[Any]) -> tuple[tuple[str, ...], dict[Any, int]]:
    """Names of the classes, and the class number of each category's id."""
    names: dict[str, None] = {}
    number: dict[Any, int] = {}
    for index, entry in enumerate(entries):
        where = f"{path} categories[{index}]"
        category, name = _fields(where, entry, "id", "name")
        if category in number or str(name) in names:
            raise DataError(f"{where}: {category}, {name} is there twice; expected each id and each name once")
        names[str(name)] = None
        number[category] = index
    return tuple(names), number


def _species(file: Path, ids: list[Any], classes: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of ``categories.json`` for hidden ones, and what to say of it; of equal names each has its id too."""
    if not file.is_file() or not all(name.isdecimal() for name in classes):
        return classes, ()
    content = _load(file)
    if not isinstance(content, list):
        raise DataError(f"{file} holds no list; expected one of id and name of each class")
    fields = [_fields(f"{file} [{index}]", entry, "id", "name") for index, entry in enumerate(content)]
    names = {category: str(name) for category, name in fields}
    if missing := [one for one in ids if one not in names]:
        raise DataError(f"{file} has no name for category {missing[0]}; expected one for each of {len(ids)} categories")
    shared = Counter(names[one] for one in ids)
    named = tuple(names[one] if shared[names[one]] == 1 else f"{names[one]} ({one})" for one in ids)
    return named, (f"{file.name} names the classes, which are numbers in the other files",)


def _locations(path: Path) -> dict[Any, TimeAndPlace]:
    if not path.is_file():
        return {}
    content = _load(path)
    if not isinstance(content, list):
        raise DataError(f"{path} holds no list; expected one of id, lat, lon and date of each photo")
    taken = {}
    for index, entry in enumerate(content):
        where = f"{path} [{index}]"
        image, latitude, longitude, date = _fields(where, entry, "id", "lat", "lon", "date")
        for value, limit in ((latitude, 90), (longitude, 180)):
            if value is not None and not (isinstance(value, int | float) and -limit <= value <= limit):
                raise DataError(f"{where}: lat {latitude}, lon {longitude}; expected degrees or null")
        found = _DATE.match(date) if isinstance(date, str) else None
        month = int(found[1]) if found else 0
        taken[image] = TimeAndPlace(month if 1 <= month <= 12 else None, latitude, longitude)
    return taken


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON: {error}") from error


def _list(path: Path, content: Any, key: str) -> list[Any]:
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path} has no list {key!r}; expected an object with images, annotations and categories")
    return entries


def _fields(where: str, entry: Any, *keys: str) -> list[Any]:
    """The values of ``keys``: numbers, texts or null."""
    plain = isinstance(entry, dict) and all(isinstance(entry.get(key, []), str | int | float | None) for key in keys)
    if not plain:
        raise DataError(f"{where} is {str(entry)[:80]}; expected an object with {', '.join(keys)}")
    return [entry[key] for key in keys]
