"""Objects as labelme's JSON describes them, a file a picture.

Format: https://github.com/wkentaro/labelme, ``examples``.  Rectangles, polygons, circles and masks are objects; points,
lines and strips of lines are left out and counted.  Polygons of one label and
``group_id`` are one object.  Pictures inside the JSON (``imageData``) are not looked at.
"""

from __future__ import annotations

import base64
import binascii
from array import array
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np

from internimage.data.formats.documents import read_json
from internimage.data.formats.gathering import DrawnPicture, Gathering, settled
from internimage.data.formats.places import annotation_files, holds, picture_finder, some_files
from internimage.data.formats.shapes import (
    BadEntryError,
    Box,
    Segmentation,
    corners,
    ellipse,
    outline_bounds,
    pasted,
    points_of,
    polygon,
    run_lengths,
    short,
    whole,
)
from internimage.data.objects import ObjectImages
from internimage.errors import DataError, ImageReadError
from internimage.images import read_image
from internimage.settings.data import DataOptions

_OTHERS = ("point", "points", "line", "linestrip")


def recognise(root: Path) -> bool:
    """Whether there is labelme's JSON: files with ``shapes`` and ``imagePath``."""
    return any(_is_labelme(file) for file in some_files(root, ".json"))


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    files = list(annotation_files(root, ".json"))
    return min(most, sum(part == "train" for _, part in files) or len(files))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """The parts of a data set, by folders that are called after parts.

    Raises:
        DataError: entries contradict the format, or there are flags of whole pictures and no shapes.
    """
    gathered: dict[str, Gathering] = {}
    shapes = flags = 0
    for file, part in annotation_files(root, ".json"):
        if not _is_labelme(file):
            continue
        name = part or "all"
        if name not in gathered:
            called = f"{root} ({name})" if name != "all" else str(root)
            gathered[name] = Gathering(called, "labelme", picture_finder(root, part))
        with gathered[name].entry("pictures", str(file)):
            content = read_json(file)
            if not isinstance(content, dict):
                raise BadEntryError("is no object; expected labelme's JSON")
            shapes += bool(content.get("shapes"))
            flags += isinstance(content.get("flags"), dict) and any(content["flags"].values())
            _read_picture(gathered[name], file, content)
    if flags and not shapes:
        raise DataError(
            f"{root}: labelme's files have flags of whole pictures and no shapes; classes are read from one folder a "
            "class, or from a table, train.csv with path and label"
        )
    return settled(gathered, wanted, options)


def _read_picture(part: Gathering, file: Path, content: Any) -> None:
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise BadEntryError(f"shapes is {short(shapes)}; expected a list")
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size = (whole(height, "imageHeight", 1), whole(width, "imageWidth", 1)) if height and width else None
    steps = [
        step for step in str(content.get("imagePath")).replace("\\", "/").split("/") if step not in ("", ".", "..")
    ]
    beside = file.parent / steps[-1] if steps else file
    if beside.is_file() and beside != file:
        picture = part.add_picture(beside, size)
    else:  # moved, or renamed together with its JSON
        known = part.finder is not None and steps and part.finder.find("/".join(steps))
        picture = part.add_picture(known, size) if known else part.find(file.stem, size)
    groups: dict[tuple[Any, Any], int] = {}
    for index, shape in enumerate(shapes):
        where = f"{file} shapes[{index}]"
        with part.entry("objects", where):
            if not isinstance(shape, dict):
                raise BadEntryError(f"is {short(shape)}; expected an object")
            kind = shape.get("shape_type") or "polygon"
            if kind in _OTHERS:
                part.leave_out(f"{kind}s are no objects" if not kind.endswith("s") else f"{kind} are no objects", where)
                continue
            box, segmentation = _drawn(shape, kind, picture)
            group = shape.get("label"), shape.get("group_id")
            if isinstance(segmentation, list) and isinstance(group[1], int):
                if group in groups:
                    _join(picture, groups[group], segmentation)
                    continue
                groups[group] = len(picture.objects)
            part.add(picture, shape.get("label"), box, segmentation)


def _join(picture: DrawnPicture, place: int, outline: list[array[float]]) -> None:
    """Add polygons to an object that was there: one label and one group are one object."""
    label, _, before, crowd = picture.objects[place]
    assert isinstance(before, list)
    picture.objects[place] = label, outline_bounds([*before, *outline]), [*before, *outline], crowd


def _drawn(shape: dict[str, Any], kind: str, picture: DrawnPicture) -> tuple[Box | None, Segmentation | None]:
    """Box and outline of a shape."""
    points = points_of(shape.get("points"), least=2)
    if kind == "rectangle":
        if len(points) not in (2, 4):
            raise BadEntryError(f"a rectangle of {len(points)} points; expected two corners")
        return corners((points[0], points[2 if len(points) == 4 else 1])), None
    if kind == "circle":
        if len(points) != 2:
            raise BadEntryError(f"a circle of {len(points)} points; expected its centre and one on it")
        (x, y), (u, v) = points
        radius = hypot(u - x, v - y)
        return None, [ellipse(x, y, radius, radius)]
    if kind == "mask":
        (left, top), *_ = points
        return None, run_lengths(pasted(_mask(shape.get("mask")), round(left), round(top), picture.size))
    if kind not in ("polygon", "oriented_rectangle", "rotation"):
        raise BadEntryError(
            f"shape_type is {short(kind)}; expected rectangle, polygon, circle, mask, point, line or linestrip"
        )
    return None, [polygon(points)]


def _mask(text: Any) -> np.ndarray[Any, Any]:
    """A PNG in base64, over the box of its points."""
    try:
        return np.asarray(read_image(base64.b64decode(text, validate=True)))[..., 0] > 0
    except (ImageReadError, binascii.Error, ValueError, TypeError) as error:
        raise BadEntryError(f"mask is no PNG in base64: {error}") from error


def _is_labelme(path: Path) -> bool:
    return holds(path, b'"shapes"', b'"imagePath"')
