"""Entries of COCO's annotations, checked one by one: what tools write differently is read, what contradicts is said."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from internimage.data.objects import ObjectAnnotation, bounds, decompress
from internimage.errors import ImageReadError
from internimage.images.decoding import exceeds_pixel_limit
from internimage.images.reader import picture_size
from internimage.settings.data import Boxes

FAR = 1e5  # pixels; drawing a polygon takes memory for every pixel of its outline
SHARES = ("shares", "share-corners", "yolo")

Identity: TypeAlias = "int | str"
Box: TypeAlias = "tuple[float, float, float, float]"


class EntryError(Exception):
    """What is wrong with one entry; follows its name."""


def object_in(entry: dict[str, Any], size: tuple[int, int], segmentation: Any, boxes: Boxes) -> tuple[Box, bool]:
    """x1, y1, x2, y2 in pixels of an annotation, and whether it is a crowd.

    Args:
        entry: of the annotations.
        size: (height, width) of its picture.
        segmentation: as :func:`segmentation_in` found it.
        boxes: what its numbers are.

    Raises:
        EntryError: they are no box.
    """
    crowd = entry.get("iscrowd")
    if crowd not in (None, 0, 1):
        raise EntryError(f": iscrowd is {short(crowd)}; expected 0 or 1")
    box: Any = entry.get("bbox")
    if box is None and segmentation is not None:
        one = ObjectAnnotation((0.0, 0.0, 0.0, 0.0), 0, segmentation, bool(crowd), 0)
        return bounds(one, size), bool(crowd)
    if not are_numbers(box) or len(box) != 4:
        raise EntryError(f": bbox is {short(box)}; expected x, y, width and height in pixels")
    return corners(boxes, box, size), bool(crowd)


def segmentation_in(given: Any, size: tuple[int, int], boxes: Boxes, bad: Callable[[str], None]) -> Any:
    """Polygons or run lengths as :class:`internimage.data.objects.ObjectAnnotation` has them; None if there are none.

    Args:
        given: an annotation's.
        size: (height, width) of its picture.
        boxes: what the numbers of boxes are; polygons are shares of the picture where they are.
        bad: told of polygons that are none.

    Raises:
        EntryError: run lengths do not fill the picture.
    """
    if isinstance(given, list):
        polygons = [given] if are_numbers(given) else given  # one polygon without brackets of its own
        good = [one for one in polygons if are_numbers(one) and len(one) >= 6 and len(one) % 2 == 0]
        for one in polygons:
            if one not in good:
                bad(f"segmentation has the polygon {short(one)}; expected x, y, ... of 3 or more points")
        if boxes in SHARES and all(0 <= edge <= 1 for polygon in good for edge in polygon):
            good = [[edge * size[1 - place % 2] for place, edge in enumerate(polygon)] for polygon in good]
        return [array("d", polygon) for polygon in good] or None
    if given is not None and not _fills(given, size):
        raise EntryError(
            f": segmentation is {short(given)}; expected polygons, or size {list(size)} as in images and counts "
            f"that add up to {size[0] * size[1]}"
        )
    return given


def corners(boxes: Boxes, values: Any, size: Any) -> Any:
    """x1, y1, x2, y2 in pixels, however they are meant: of numbers, or of columns of them.

    Args:
        boxes: what they are.
        values: four of them.
        size: (height, width) of the pictures.
    """
    x, y, right, down = values
    if boxes in SHARES:
        x, y, right, down = x * size[1], y * size[0], right * size[1], down * size[0]
    if boxes == "yolo":
        x, y = x - right / 2, y - down / 2
    return (x, y, right, down) if boxes in ("corners", "share-corners") else (x, y, x + right, y + down)


def size_in(entry: dict[str, Any], file: str | None) -> tuple[int, int]:
    """(height, width), from the picture where the entry does not say.

    Raises:
        EntryError: neither says it, or it is no size of a picture.
    """
    height: Any = entry.get("height")
    width: Any = entry.get("width")
    if height is None and width is None:
        if file is None:
            raise EntryError(f" is {short(entry)}; expected height and width, for the picture is not there")
        try:
            width, height = picture_size(Path(file))
        except ImageReadError as error:
            raise EntryError(f": neither height and width nor a picture that can be read: {error}") from error
    if not (is_whole(height) and is_whole(width)):
        raise EntryError(f" is {short(entry)}; expected height and width in whole pixels")
    if min(height, width) < 1:
        raise EntryError(f" is {width} wide and {height} high; expected 1 or more pixels")
    if exceeds_pixel_limit(width, height):  # a mask takes memory for each of them
        raise EntryError(f" is {width} wide and {height} high: more pixels than are read")
    return int(height), int(width)


def identities_in(entry: Any, *keys: str) -> list[Identity]:
    """The ids of an entry.

    Raises:
        EntryError: one is missing or is no id.
    """
    if not isinstance(entry, dict) or not all(_is_id(entry, key) for key in keys):
        raise EntryError(f" is {short(entry)}; expected an object with {', '.join(keys)}: whole numbers or texts")
    return [entry[key] if isinstance(entry[key], str) else int(entry[key]) for key in keys]


def key_of(identity: Any) -> Identity:
    """What ids are compared by: some tools write a number as a text in one list and not in the other."""
    if isinstance(identity, str):
        return int(identity) if identity.isdecimal() else identity
    return int(identity)


def is_whole(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def are_numbers(values: Any) -> bool:
    """Whether these are numbers that can be pixels."""
    return isinstance(values, list) and all(type(v) in (int, float) and -FAR <= v <= FAR for v in values)


def short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_id(entry: dict[str, Any], key: str) -> bool:
    value = entry.get(key)
    return is_whole(value) or (isinstance(value, str) and value != "")


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
