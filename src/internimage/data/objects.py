"""Images with objects: boxes, masks, and bitmaps of the masks."""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from internimage.data.samples import Measured
from internimage.errors import ImageReadError, MissingExtraError

_OUTLINES = 0.1  # share of true masks that may be rectangles: a screen, a page


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

    @property
    def entries(self) -> tuple[ObjectImage, ...]:
        """The images; what every data set calls them."""
        return self.images

    def measured(self, entry: ObjectImage, size: tuple[int, int]) -> Measured:
        """The image's id; its objects are in ``images``."""
        if wrong := wrong_size(entry, size):
            raise ImageReadError(f"{entry.file}: {wrong}")
        return Measured(entry.identity)

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
        runs = np.array(decompress(counts) if isinstance(counts, str) else counts, np.int64)
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
        raise MissingExtraError("masks need faster-coco-eval: pip install 'internimage[train]'") from error
    return mask


def _runs(segmentation: Any, size: tuple[int, int]) -> Any:
    """The segmentation as one compressed list of run lengths."""
    mask = _mask_functions()
    if isinstance(segmentation, list):
        return mask.merge(mask.frPyObjects([list(polygon) for polygon in segmentation], *size))
    if isinstance(segmentation["counts"], list):
        return mask.frPyObjects(segmentation, *size)
    return {"size": segmentation["size"], "counts": segmentation["counts"].encode()}


def decompress(text: str) -> list[int] | None:
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


def wrong_size(entry: ObjectImage, size: tuple[int, int]) -> str | None:
    """What is wrong with a picture of ``size`` (width, height) that its annotations do not say; None if they do."""
    height, width = entry.size
    if size == (width, height):
        return None
    text = f"the picture is {size[0]}x{size[1]}, the annotations are for {width}x{height}"
    if size != (height, width):
        return f"{text}; expected one size"
    return (
        f"{text}: they are for the picture before the rotation that its EXIF data ask for; store it without EXIF "
        "orientation, turned as the boxes are"
    )
