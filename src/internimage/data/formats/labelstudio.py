"""Objects as Label Studio's JSON and JSON-MIN describe them, in per cent of the picture.

Rectangles, polygons, ellipses and brushed masks are objects; key points are left out and counted, choices for whole
pictures are not looked at.  A turned rectangle is its outline, and the upright box around it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from internimage.data.formats.gathering import DrawnPicture, Gathering, settled
from internimage.data.formats.labelstudio_file import Result, files_of, label_of, read_tasks
from internimage.data.formats.places import picture_finder
from internimage.data.formats.shapes import (
    BadEntryError,
    Box,
    Segmentation,
    ellipse,
    number,
    points_of,
    polygon,
    run_lengths,
    short,
    turned_box,
    whole,
)
from internimage.data.objects import ObjectImages
from internimage.settings.data import DataOptions

_NO_REGIONS = ("choices", "taxonomy", "rating", "textarea", "relation", "number", "datetime", "pairwise")
_WORD_BITS, _SIZE_BITS, _COUNT_BITS = 5, 4, 32


def recognise(root: Path) -> bool:
    """Whether there is an export with regions."""
    return files_of(root, drawn=True)


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    parts = Counter(task.part for task in read_tasks(root, Counter()))
    return min(most, parts.get("train", 0) or parts.get("all", 0))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """The parts of a data set, by files or folders that are called after parts.

    Raises:
        DataError: entries contradict the format.
    """
    gathered: dict[str, Gathering] = {}
    notes: Counter[str] = Counter()
    for task in read_tasks(root, notes):
        if task.part not in gathered:
            name = f"{root} ({task.part})" if task.part != "all" else str(root)
            gathered[task.part] = Gathering(name, "Label Studio", picture_finder(root, task.part))
        part = gathered[task.part]
        if task.results is None:
            part.leave_out("not annotated", task.where, "pictures")
            continue
        with part.entry("pictures", task.where):
            picture = part.find(task.picture, _size(task.results))
            for index, result in enumerate(task.results):
                where = f"{task.where} result[{index}]"
                if result.kind in _NO_REGIONS:
                    continue
                if result.kind.startswith("keypoint") or result.kind.startswith("vector"):
                    part.leave_out("key points are no objects", where)
                    continue
                with part.entry("objects", where):
                    box, segmentation = _drawn(result, picture)
                    part.add(picture, label_of(result), box, segmentation)
    for part in gathered.values():
        part.notes += [f"{count} {what}" for what, count in notes.items() if count]
    return settled(gathered, wanted, options)


def _size(results: list[Result]) -> tuple[int, int] | None:
    """(height, width) of the picture, which every region repeats."""
    for result in results:
        height, width = result.size
        if height and width:
            return whole(height, "original_height", 1), whole(width, "original_width", 1)
    return None


def _drawn(result: Result, picture: DrawnPicture) -> tuple[Box | None, Segmentation | None]:
    """Box and outline of a region."""
    height, width = picture.size
    value = result.value
    turn = number(value.get("rotation") or 0, "rotation")
    if result.kind == "rectanglelabels":
        x, y, across, down = (number(value.get(key), key) for key in ("x", "y", "width", "height"))
        box = (x * width / 100, y * height / 100, (x + across) * width / 100, (y + down) * height / 100)
        return (box, None) if not turn else (None, [turned_box(box, turn, box[:2])])
    if result.kind == "polygonlabels":
        points = points_of(value.get("points"))
        return None, [polygon((x * width / 100, y * height / 100) for x, y in points)]
    if result.kind == "ellipselabels":
        x, y, across, down = (number(value.get(key), key) for key in ("x", "y", "radiusX", "radiusY"))
        outline = ellipse(
            x * width / 100, y * height / 100, across * width / 100, down * height / 100, turn * np.pi / 180
        )
        return None, [outline]
    if result.kind == "brushlabels":
        if value.get("format") != "rle":
            raise BadEntryError(f"format is {short(value.get('format'))}; expected rle")
        return None, run_lengths(brushed(value.get("rle"), picture.size))
    raise BadEntryError(f"type is {short(result.kind)}; expected rectangle-, polygon-, ellipse- or brushlabels")


def brushed(packed: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask of ``size`` (height, width) from Label Studio's run lengths of red, green, blue, opacity.

    A stream of bits (``@thi.ng/rle-pack``): 32 for the count of values, 5 for the bits of a value less one, four times
    4 for the bits of lengths less one; then, until all values are there, a bit whether one value repeats, 2 for the
    kind of length, the length less one, and the value, or the values.
    """
    if not isinstance(packed, list) or not all(type(byte) is int and 0 <= byte < 256 for byte in packed):
        raise BadEntryError(f"rle is {short(packed)}; expected a list of bytes")
    bits = _Bits(bytes(packed))
    count = bits.take(_COUNT_BITS)
    height, width = size
    if count != 4 * height * width:
        raise BadEntryError(f"rle has {count} values; expected 4 for each of {width}x{height} pixels")
    word = bits.take(_WORD_BITS) + 1
    lengths = [bits.take(_SIZE_BITS) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint32)
    place = 0
    while place < count:
        repeated = bits.take(1)
        end = min(count, place + 1 + bits.take(lengths[bits.take(2)]))
        if repeated:
            values[place:end] = bits.take(word)
        else:
            values[place:end] = [bits.take(word) for _ in range(end - place)]
        place = end
    mask: NDArray[np.bool_] = values.reshape(height, width, 4)[..., 3] > 0
    return mask


class _Bits:
    """A stream of bits, highest first."""

    def __init__(self, content: bytes) -> None:
        self._left = 8 * len(content)
        self._content = content

    def take(self, count: int) -> int:
        start = 8 * len(self._content) - self._left
        if count > self._left:
            raise BadEntryError("rle ends too early")
        self._left -= count
        first, last = start // 8, (start + count + 7) // 8
        window = int.from_bytes(self._content[first:last], "big")
        return window >> (8 * last - start - count) & ((1 << count) - 1)
