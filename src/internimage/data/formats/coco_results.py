"""Results of detectors as COCO's result files list them: a list of image_id, category_id, score, bbox, segmentation.

Format: https://cocodataset.org/#format-results
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from internimage.data.objects import ObjectImages, decompress
from internimage.errors import DataError

Identity: TypeAlias = "int | str"
"""Of an image or a category; some tools write texts."""


Found: TypeAlias = "dict[Identity, list[ResultEntry]]"
"""Entries by image, in the order of the file; every image of the data has a list."""


class ResultEntry(NamedTuple):
    """One entry: its label (a place in the data's classes), score, box (x1, y1, x2, y2 in pixels) and segmentation.

    The segmentation is polygons or run lengths, as in annotations; box and segmentation may be None, not both.
    """

    label: int
    score: float
    box: tuple[float, float, float, float] | None
    segmentation: list[list[float]] | dict[str, Any] | None


def results_in(path: Path, content: Any, data: ObjectImages) -> tuple[Found, dict[Identity, int]]:
    """The entries of a result file with this content, and how many are of which unknown category.

    Entries of categories that the data lacks are counted and left out, as COCO's evaluation leaves them out.

    Raises:
        DataError: an entry is incomplete, of no image of the data, or all are of other categories.
    """
    if not isinstance(content, list):
        raise DataError(f"{path} is no list; expected COCO's results, [{{image_id, category_id, score, bbox}}, ...]")
    labels = {identity: number for number, identity in enumerate(data.category_ids)}
    sizes = {image.identity: image.size for image in data.images}
    found: Found = {identity: [] for identity in sizes}
    unknown: dict[Identity, int] = {}
    for index, entry in enumerate(content):
        where = f"{path} [{index}]"
        image, category = (_identity(where, entry, key) for key in ("image_id", "category_id"))
        if image not in found:
            raise DataError(
                f"{where} is of image {image}, which is not among the {len(found)} annotated ones of {data.name}"
            )
        if category in labels:
            found[image].append(_entry(where, entry, labels[category], sizes[image]))
        else:
            unknown[category] = unknown.get(category, 0) + 1
    if content and sum(unknown.values()) == len(content):
        raise DataError(
            f"{path}: the categories {_listed(unknown)} are not among those of {data.name}, "
            f"{_listed(data.category_ids)}; write the results with its ids (predict --annotations)"
        )
    return found, unknown


def _entry(where: str, entry: dict[str, Any], label: int, size: tuple[int, int]) -> ResultEntry:
    score: Any = entry.get("score")
    box, shape = (entry.get(key) or None for key in ("bbox", "segmentation"))
    if not _numbers([score]):
        raise DataError(f"{where}: score is {score!r}; expected a finite number")
    if box is None and shape is None:
        raise DataError(f"{where} has neither bbox nor segmentation; expected one of them at least")
    if box is not None and not (_numbers(box) and len(box) == 4):
        raise DataError(f"{where}: bbox is {box!r}; expected x, y, width and height in pixels")
    if isinstance(shape, list):
        if not all(_numbers(polygon) and len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in shape):
            raise DataError(f"{where}: segmentation has a polygon that is not x, y, ... of 3 or more points")
    elif shape is not None:
        counts = shape.get("counts") if isinstance(shape, dict) else None
        runs: Any = decompress(counts) if isinstance(counts, str) else counts
        whole = isinstance(runs, list) and all(type(run) is int and run >= 0 for run in runs)
        if not isinstance(shape, dict) or shape.get("size") != list(size) or not whole or sum(runs) != math.prod(size):
            raise DataError(
                f"{where}: segmentation is not run lengths of {size[0]}x{size[1]} pixels (height, width), as the "
                "image has"
            )
    corners = None if box is None else (box[0], box[1], box[0] + box[2], box[1] + box[3])
    return ResultEntry(label, float(score), corners, shape)


def _identity(where: str, entry: Any, key: str) -> Identity:
    value = entry.get(key) if isinstance(entry, dict) else None
    if type(value) not in (int, str):
        raise DataError(f"{where}: {key} is {value!r}; expected a whole number, or a text where annotations have such")
    return value  # type: ignore[return-value]


def _numbers(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(
        type(v) in (int, float) and abs(v) <= sys.float_info.max for v in values
    )


def _listed(values: Any) -> str:
    values = list(values)
    return ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")


def read_numbers(path: Path) -> tuple[dict[str, Identity], dict[str, Identity]]:
    """The ids of the images by their file names, and of the categories by their names, of any file in COCO's format.

    Raises:
        DataError: the file is unreadable, or lacks one of the two lists.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON: {error}") from error
    found = []
    for key, name in (("images", "file_name"), ("categories", "name")):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(one, dict) and name in one for one in entries):
            raise DataError(f"{path} has no list {key!r} with id and {name}; expected a file of COCO's annotations")
        found.append({str(one[name]): _identity(f"{path} {key}", one, "id") for one in entries})
    return found[0], found[1]
