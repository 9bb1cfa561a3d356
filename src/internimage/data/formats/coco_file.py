"""One file of COCO's annotations, entry by entry."""

from __future__ import annotations

import json
from array import array
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from internimage.data.formats.pictures import PictureFinder, check_name
from internimage.data.left_out import BadEntries
from internimage.data.objects import ObjectAnnotation, ObjectImage, ObjectImages, bounds, decompress
from internimage.errors import DataError, ImageReadError
from internimage.images.decoding import exceeds_pixel_limit
from internimage.images.reader import picture_size
from internimage.settings.data import Boxes, DataOptions

_FAR = 1e5  # pixels; drawing a polygon takes memory for every pixel of its outline
_SHARES = ("shares", "share-corners", "yolo")
_MANY = 3  # boxes from which their numbers are judged together

Identity = int | str


class _BadEntryError(Exception):
    """What is wrong with one entry."""


class CocoFile:
    """Reads the content of one file.

    Args:
        path: of the file, for messages.
        content: its JSON.
        pictures: where they are.
        needed: whether it is an error if none of them is there.
    """

    def __init__(self, path: Path, content: Any, pictures: PictureFinder, needed: bool) -> None:
        self.path = path
        self.needed = needed
        self.content = content
        self.pictures = pictures
        self.bad = BadEntries()
        self.boxes: Boxes = "sizes"

    def read(self, options: DataOptions) -> ObjectImages:
        """Everything that can be used; see :func:`internimage.data.formats.coco.read_coco`."""
        self.boxes = options.boxes
        annotations = self._list("annotations", empty=True)
        classes = self._categories(annotations)
        label = {_key(identity): number for number, identity in enumerate(classes)}
        images, sizes = self._images()
        objects: dict[Identity, list[ObjectAnnotation]] = defaultdict(list)
        seen: set[Identity] = set()
        for index, entry in enumerate(annotations):
            where = f"{self.path} annotations[{index}]"
            try:
                identity, image, category = _identities(entry, "id", "image_id", "category_id")
                if _key(identity) in seen:
                    raise _BadEntryError(f": the id {identity} is there twice; expected each id once")
                if _key(image) not in images:
                    raise _BadEntryError(f": image {image} is not in the file; expected the id of one of its images")
                if _key(category) not in label:
                    raise _BadEntryError(
                        f": category {category} is not in the file; expected the id of one of its categories"
                    )
                seen.add(_key(identity))
                size = sizes[_key(image)]
                objects[_key(image)].append(
                    self._object(where, entry, identity, label[_key(category)], size, options.bad_entries == "drop")
                )
            except _BadEntryError as error:
                self.bad.add("objects", f"{where}{error}")
        total = {"objects": len(annotations), "pictures": len(self._list("images"))}
        left_out = self.bad.settle(options.bad_entries == "drop", total)  # type: ignore[arg-type]
        found = tuple(
            ObjectImage(file, identity, sizes[key], tuple(objects[key])) for key, (file, identity) in images.items()
        )
        if self.boxes == "sizes":
            _judge_boxes(self.path, found)
        names = tuple(classes.values())
        return ObjectImages(str(self.path), names, tuple(classes), found, "COCO", left_out, self._notes(names))

    def _notes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        twice = [entry["name"] for entry in self._list("categories") if entry["name"] in names]
        dropped = [name for name, count in Counter(twice).items() if count > 1]
        notes = tuple(f"of two categories called {name} the one without objects is dropped" for name in dropped)
        return (*notes, *self.pictures.notes())

    def _categories(self, annotations: list[Any]) -> dict[Identity, str]:
        """Names by ids, in the order of the ids."""
        names: dict[Identity, str] = {}
        shown = [one for one in annotations if isinstance(one, dict) and _is_id(one, "category_id")]
        used = {_key(one["category_id"]) for one in shown}
        by_name: dict[str, Identity] = {}
        for index, entry in enumerate(self._list("categories")):
            where = f"{self.path} categories[{index}]"
            try:
                (identity,) = _identities(entry, "id")
            except _BadEntryError as error:
                raise DataError(f"{where}{error}") from None
            name = entry.get("name")
            if not isinstance(name, str) or not name.strip():
                raise DataError(f"{where}: name is {name!r}; expected a text")
            if identity in names:
                raise DataError(f"{where}: the id {identity} is there twice; expected each id once")
            other = by_name.get(name)
            if other is not None and _key(identity) in used and _key(other) in used:
                raise DataError(
                    f"{where}: {name} is the name of {other} and of {identity}, which both have objects; expected each "
                    "name once"
                )
            if other is not None:  # a project called like its class, as some tools write it
                if _key(identity) not in used:
                    continue
                del names[other]
            names[identity], by_name[name] = name, identity
        return {identity: names[identity] for identity in sorted(names, key=lambda one: (isinstance(one, str), one))}

    def _images(self) -> tuple[dict[Identity, tuple[Path, Identity]], dict[Identity, tuple[int, int]]]:
        """Files and ids, and (height, width), by keys of the ids."""
        files: dict[Identity, tuple[Path, Identity]] = {}
        sizes: dict[Identity, tuple[int, int]] = {}
        entries, found = self._list("images"), 0
        for index, entry in enumerate(entries):
            where = f"{self.path} images[{index}]"
            try:
                (identity,) = _identities(entry, "id")
                name = check_name(where, entry.get("file_name"))
                if _key(identity) in files:
                    raise _BadEntryError(f": the id {identity} is there twice; expected each id once")
                file = self.pictures.find(name)
                found += file is not None
                sizes[_key(identity)] = _size(entry, file)
                files[_key(identity)] = file or self._absent(name), identity
            except _BadEntryError as error:
                self.bad.add("pictures", f"{where}{error}")
            except DataError as error:
                self.bad.add("pictures", str(error))
        if files and not found and self.needed:
            name = next(entry["file_name"] for entry in entries if isinstance(entry, dict) and entry.get("file_name"))
            places = ", ".join(map(str, self.pictures.folders))
            raise DataError(f"{self.path}: {name} is in none of {places}, nor elsewhere below {self.pictures.root}")
        return files, sizes

    def _absent(self, name: str) -> Path:
        """Where a picture that is not there would be."""
        return next(iter(self.pictures.folders), self.pictures.root) / name.replace("\\", "/").lstrip("/")

    def _object(
        self, where: str, entry: dict[str, Any], identity: Identity, label: int, size: tuple[int, int], mend: bool
    ) -> ObjectAnnotation:
        crowd = entry.get("iscrowd")
        if crowd not in (None, 0, 1):
            raise _BadEntryError(f": iscrowd is {_short(crowd)}; expected 0 or 1")
        segmentation = self._segmentation(where, entry.get("segmentation") or None, size)
        box: Any = entry.get("bbox")
        if box is None and segmentation is not None:
            one = ObjectAnnotation((0.0, 0.0, 0.0, 0.0), label, segmentation, bool(crowd), identity)
            return one._replace(box=bounds(one, size))
        if not _numbers(box) or len(box) != 4:
            raise _BadEntryError(f": bbox is {_short(box)}; expected x, y, width and height in pixels")
        corners = _corners(self.boxes, box, size)
        return ObjectAnnotation(corners, label, segmentation, bool(crowd), identity)

    def _segmentation(self, where: str, given: Any, size: tuple[int, int]) -> Any:
        if isinstance(given, list):
            polygons = [given] if _numbers(given) else given  # one polygon without brackets of its own
            good = [one for one in polygons if _numbers(one) and len(one) >= 6 and len(one) % 2 == 0]
            for one in polygons:
                if one not in good:
                    self.bad.add(
                        "polygons",
                        f"{where}: segmentation has the polygon {_short(one)}; expected x, y, ... of 3 or more points",
                    )
            if self.boxes in _SHARES and all(0 <= edge <= 1 for polygon in good for edge in polygon):
                good = [[edge * size[1 - place % 2] for place, edge in enumerate(polygon)] for polygon in good]
            return [array("d", polygon) for polygon in good] or None
        if given is not None and not _fills(given, size):
            raise _BadEntryError(
                f": segmentation is {_short(given)}; expected polygons, or size {list(size)} as in images and counts "
                f"that add up to {size[0] * size[1]}"
            )
        return given

    def _list(self, key: str, *, empty: bool = False) -> list[Any]:
        entries = self.content.get(key) if isinstance(self.content, dict) else None
        if not isinstance(entries, list) or not (entries or empty):
            raise DataError(
                f"{self.path} has no list {key!r}; expected an object with images, annotations and categories"
            )
        return entries


def _judge_boxes(path: Path, images: tuple[ObjectImage, ...]) -> None:
    """Boxes that are no x, y, width and height in pixels, which can be told by looking at all of them."""
    boxes = [(one.box, image.size) for image in images for one in image.objects]
    if len(boxes) < _MANY:
        return
    sizes = [(x1, y1, x2 - x1, y2 - y1) for (x1, y1, x2, y2), _ in boxes]
    if all(min(size) >= 0 and max(size) <= 1 for size in sizes) and all(min(size) > _MANY for _, size in boxes):
        raise DataError(
            f"{path}: all {len(boxes)} boxes lie between 0 and 1: they look like shares of the picture; expected x, y, "
            f"width and height in pixels (internimage data convert --boxes {_kind_of_shares(sizes)})"
        )
    reach = sum(box[2] > size[1] + 1 or box[3] > size[0] + 1 for box, size in boxes)
    corners = all(
        box[0] < box[2] - box[0] <= size[1] + 1 and box[1] < box[3] - box[1] <= size[0] + 1 for box, size in boxes
    )
    if corners and reach > len(boxes) / 4:
        raise DataError(
            f"{path}: {reach} of {len(boxes)} boxes reach out of their pictures as x, y, width and height, and none as "
            "x1, y1, x2, y2: they look like corners; expected x, y, width and height (internimage data convert "
            "--boxes corners)"
        )


def _kind_of_shares(sizes: list[tuple[float, float, float, float]]) -> Boxes:
    """Corner and size where all stay in the picture; else two corners, if the second is beyond the first."""
    if all(x + width <= 1.001 and y + height <= 1.001 for x, y, width, height in sizes):
        return "shares"
    return "share-corners" if all(right > x and down > y for x, y, right, down in sizes) else "yolo"


def _corners(boxes: Boxes, values: list[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 in pixels of a box, however it is meant, in a picture of ``size`` (height, width)."""
    x, y, right, down = map(float, values)
    if boxes in _SHARES:
        x, y, right, down = x * size[1], y * size[0], right * size[1], down * size[0]
    if boxes == "yolo":
        x, y = x - right / 2, y - down / 2
    return (x, y, right, down) if boxes in ("corners", "share-corners") else (x, y, x + right, y + down)


def _size(entry: dict[str, Any], file: Path | None) -> tuple[int, int]:
    """(height, width), from the picture where the entry does not say."""
    height: Any = entry.get("height")
    width: Any = entry.get("width")
    if height is None and width is None:
        if file is None:
            raise _BadEntryError(f" is {_short(entry)}; expected height and width, for the picture is not there")
        try:
            width, height = picture_size(file)
        except ImageReadError as error:
            raise _BadEntryError(f": neither height and width nor a picture that can be read: {error}") from error
    if not (_is_whole(height) and _is_whole(width)):
        raise _BadEntryError(f" is {_short(entry)}; expected height and width in whole pixels")
    if min(height, width) < 1:
        raise _BadEntryError(f" is {width} wide and {height} high; expected 1 or more pixels")
    if exceeds_pixel_limit(width, height):  # a mask takes memory for each of them
        raise _BadEntryError(f" is {width} wide and {height} high: more pixels than are read")
    return int(height), int(width)


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


def _identities(entry: Any, *keys: str) -> list[Identity]:
    if not isinstance(entry, dict) or not all(_is_id(entry, key) for key in keys):
        raise _BadEntryError(f" is {_short(entry)}; expected an object with {', '.join(keys)}: whole numbers or texts")
    return [entry[key] if isinstance(entry[key], str) else int(entry[key]) for key in keys]


def _is_id(entry: dict[str, Any], key: str) -> bool:
    value = entry.get(key)
    return _is_whole(value) or (isinstance(value, str) and value != "")


def _is_whole(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def _key(identity: Any) -> Identity:
    """What ids are compared by: some tools write a number as a text in one list and not in the other."""
    if isinstance(identity, str):
        return int(identity) if identity.isdecimal() else identity
    return int(identity)


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) in (int, float) and -_FAR <= v <= _FAR for v in values)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
