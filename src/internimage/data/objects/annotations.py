"""What is known of a picture with objects, and the pixels of an object."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from internimage.data.samples import ImageFile
from internimage.errors import MissingExtraError


class ObjectAnnotation(NamedTuple):
    """One object, or a crowd of them.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the original image.
        label: index into the classes.
        segmentation: polygons, each x, y, x, y, ... in pixels, packed, since COCO's would fill gigabytes as lists of
            numbers; or run lengths, ``{"size": [height, width], "counts": text or list}``; None if the file has only a
            box.
        crowd: several objects that were not told apart; nothing to learn from, and nothing that counts as missed.
        identity: the annotation's id.
    """

    box: tuple[float, float, float, float]
    label: int
    segmentation: list[array[float]] | dict[str, Any] | None
    crowd: bool
    identity: int | str

    @property
    def area(self) -> float:
        """Pixels of the mask, as COCO's files have them: of polygons by their corners; of the box without a mask.

        What a file says is not taken: exporters write 0, or the box's.
        """
        if self.segmentation is None:
            x1, y1, x2, y2 = self.box
            return max(0.0, x2 - x1) * max(0.0, y2 - y1)
        if isinstance(self.segmentation, dict):
            return float(sum(_counts(self.segmentation)[1::2]))
        return sum(_polygon_area(polygon) for polygon in self.segmentation)

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


class Verified(NamedTuple):
    """Which classes somebody looked for in an image, of a set where that is not all of them.

    Attributes:
        present: there, with boxes or without.
        absent: not there, so that what is found of them is wrong.
        partly: there are more of them than have boxes.
    """

    present: frozenset[int] = frozenset()
    absent: frozenset[int] = frozenset()
    partly: frozenset[int] = frozenset()


class ObjectImage(NamedTuple):
    """An image and what is in it.

    Attributes:
        file: the picture.
        identity: its id in the data.
        size: its (height, width).
        objects: what is annotated.
        verified: of sets that look for some classes in each image; None where all are annotated.
    """

    file: ImageFile
    identity: int | str
    size: tuple[int, int]
    objects: tuple[ObjectAnnotation, ...]
    verified: Verified | None = None


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
        runs = np.array(_counts(annotation.segmentation), np.int64)
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[::-1]).T  # column by column, zeros first
    mask = _mask_functions()
    filled: np.ndarray[Any, Any] = mask.decode(_runs(annotation.segmentation, size))
    return filled.view(bool)


def bounds(annotation: ObjectAnnotation, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 around a segmentation as it is written; zeros around nothing."""
    if isinstance(annotation.segmentation, list):
        x = [edge for polygon in annotation.segmentation for edge in polygon[::2]]
        y = [edge for polygon in annotation.segmentation for edge in polygon[1::2]]
        return min(x), min(y), max(x), max(y)
    rows, columns = np.nonzero(bitmap(annotation, size))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def mask_bounds(annotation: ObjectAnnotation, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """x1, y1, x2, y2 around the pixels of an object that has a segmentation; None if there are no pixels."""
    mask, runs = _mask_functions(), _runs(annotation.segmentation, size)
    if not mask.area(runs):
        return None
    x, y, width, height = mask.toBbox(runs).tolist()
    return x, y, x + width, y + height


def _counts(segmentation: dict[str, Any]) -> list[int]:
    """Run lengths as numbers."""
    counts: list[int] | str = segmentation["counts"]
    return decompress(counts) or [] if isinstance(counts, str) else counts


def _polygon_area(polygon: Sequence[float]) -> float:
    x, y = polygon[::2], polygon[1::2]
    return abs(sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x)))) / 2


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
