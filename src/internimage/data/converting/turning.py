"""Annotations that were drawn on a picture as it is stored, turned as its EXIF orientation turns the picture."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from internimage.data.formats.shapes import Box, run_lengths
from internimage.data.objects import ObjectAnnotation, ObjectImage, bitmap
from internimage.images.decoding import UPRIGHT

SIDEWAYS = (5, 6, 7, 8)


def turned_image(image: ObjectImage, turn: int) -> ObjectImage:
    """A picture's objects in its upright frame; ``image.size`` is that of the stored one."""
    objects = tuple(turned_object(one, turn, image.size) for one in image.objects)
    return image._replace(size=image.size[::-1] if turn in SIDEWAYS else image.size, objects=objects)


def turned_object(one: ObjectAnnotation, turn: int, size: tuple[int, int]) -> ObjectAnnotation:
    """An object in the upright frame; ``size`` is (height, width) of the stored picture."""
    segmentation: Any = one.segmentation
    if isinstance(segmentation, list):
        segmentation = [_turned_polygon(polygon, turn, size) for polygon in segmentation]
    elif segmentation is not None:
        segmentation = run_lengths(turned_pixels(bitmap(one, size), turn))
    return one._replace(box=turned_box(one.box, turn, size), segmentation=segmentation)


def turned_box(box: Box, turn: int, size: tuple[int, int]) -> Box:
    """x1, y1, x2, y2 in the upright frame."""
    (x1, y1), (x2, y2) = (_turned_point(x, y, turn, size) for x, y in (box[:2], box[2:]))
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def turned_pixels(pixels: NDArray[Any], turn: int) -> NDArray[Any]:
    """An array (H, W) of the stored picture, upright."""
    whole = pixels.astype(np.int32)
    turned = np.asarray(Image.fromarray(whole, "I").transpose(UPRIGHT[turn])) if turn in UPRIGHT else whole
    return turned.astype(pixels.dtype)


def _turned_polygon(polygon: array[float], turn: int, size: tuple[int, int]) -> array[float]:
    turned = array("d")
    for x, y in zip(polygon[::2], polygon[1::2], strict=True):
        turned.extend(_turned_point(x, y, turn, size))
    return turned


def _turned_point(x: float, y: float, turn: int, size: tuple[int, int]) -> tuple[float, float]:
    """A place on the stored picture, on the upright one."""
    height, width = size
    return {
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (height - y, x),
        7: (height - y, width - x),
        8: (y, width - x),
    }.get(turn, (x, y))
