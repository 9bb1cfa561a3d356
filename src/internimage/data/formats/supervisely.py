"""Objects as a project folder of Supervisely describes them: ``meta.json``, ``DATASET/ann`` and ``DATASET/img``.

Format: https://developer.supervisely.com/getting-started/supervisely-annotation-format/objects.  Corners of rectangles
are pixels, both in the box.  Rectangles, polygons and bitmaps are objects; points, lines and others are left out and
counted.  Data sets that are called after parts are parts.
"""

from __future__ import annotations

import base64
import binascii
import io
import zlib
from array import array
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from internimage.data.formats.documents import read_json
from internimage.data.formats.gathering import DrawnPicture, Gathering, settled
from internimage.data.formats.parts import folders_in, part_named
from internimage.data.formats.pictures import PictureFinder, is_hidden, pictures_below
from internimage.data.formats.places import files_in, holds
from internimage.data.formats.shapes import (
    BadEntryError,
    Box,
    Segmentation,
    corners,
    pasted,
    points_of,
    polygon,
    run_lengths,
    short,
    whole,
    with_holes,
)
from internimage.data.objects import ObjectImages
from internimage.errors import DataError
from internimage.images.decoding import exceeds_pixel_limit, identify
from internimage.settings.data import DataOptions

_OTHERS = ("point", "line", "graph", "cuboid", "cuboid_2d")


def recognise(root: Path) -> bool:
    """Whether there is a ``meta.json`` with classes, and data sets with ``ann``."""
    return root.is_dir() and holds(root / "meta.json", b'"classes"') and bool(_datasets(root))


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    sets = _datasets(root)
    train = [path for path in sets if part_named(path.name) == "train"] or sets
    return min(most, sum(len(files_in(path / "ann", ".json")) for path in train))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """The parts of a project.

    Raises:
        DataError: ``meta.json`` has no classes, or entries contradict the format.
    """
    meta = read_json(root / "meta.json")
    listed = meta.get("classes") if isinstance(meta, dict) else None
    if not isinstance(listed, list) or not all(
        isinstance(one, dict) and isinstance(one.get("title"), str) for one in listed
    ):
        raise DataError(f"{root / 'meta.json'} has no list 'classes' with titles; expected Supervisely's project")
    classes = [one["title"] for one in listed]
    gathered: dict[str, Gathering] = {}
    datasets = _datasets(root)
    named = [path for path in datasets if part_named(path.name)]
    for folder in named or datasets:
        name = part_named(folder.name) or "all"
        if name not in gathered:
            gathered[name] = Gathering(f"{root} ({name})" if name != "all" else str(root), "Supervisely")
        part = gathered[name]
        part.finder = PictureFinder([folder / "img"], folder)
        for file in files_in(folder / "ann", ".json"):
            with part.entry("pictures", str(file)):
                _read_picture(part, file, set(classes))
    for folder in datasets if named else []:
        if folder not in named:
            for path in pictures_below(folder):
                next(iter(gathered.values())).leave_out(f"outside the parts, in {folder.name}", str(path), "files")
    return settled(gathered, wanted, options, classes)


def _read_picture(part: Gathering, file: Path, classes: set[str]) -> None:
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
        raise BadEntryError("has no list 'objects'; expected Supervisely's annotation of a picture")
    size = content.get("size")
    if not isinstance(size, dict):
        raise BadEntryError(f"size is {short(size)}; expected height and width")
    height, width = (whole(size.get(side), side, 1) for side in ("height", "width"))
    picture = part.find(file.name.removesuffix(".json"), (height, width))
    for index, entry in enumerate(content["objects"]):
        where = f"{file} objects[{index}]"
        with part.entry("objects", where):
            kind = entry.get("geometryType") if isinstance(entry, dict) else None
            if kind in _OTHERS:
                part.leave_out(f"{kind}s are no objects", where)
                continue
            label = entry.get("classTitle") if isinstance(entry, dict) else None
            if not isinstance(label, str) or label not in classes:
                raise BadEntryError(f"classTitle is {short(label)}; expected one of meta.json's classes")
            box, segmentation = _drawn(entry, kind, picture)
            part.add(picture, label, box, segmentation)


def _drawn(entry: dict[str, Any], kind: Any, picture: DrawnPicture) -> tuple[Box | None, Segmentation | None]:
    """Box and outline of an object."""
    points = _object(entry.get("points") or {})
    if kind == "rectangle":
        found = points_of(points.get("exterior"), least=2)
        if len(found) != 2:
            raise BadEntryError(f"a rectangle of {len(found)} points; expected two corners")
        x1, y1, x2, y2 = corners(found)
        return (x1, y1, x2 + 1, y2 + 1), None
    if kind in ("polygon", "multipolygon"):
        outer: list[array[float]] = []
        holes: list[array[float]] = []
        for one in map(_object, _list(entry.get("parts")) or [points]):
            outer.append(polygon(points_of(one.get("exterior"))))
            holes += [polygon(points_of(hole)) for hole in _list(one.get("interior"))]
        return None, with_holes(outer, holes, picture.size)
    if kind == "bitmap":
        bitmap = _object(entry.get("bitmap"))
        origin = points_of([bitmap.get("origin")], "origin")[0]
        return None, run_lengths(pasted(_bitmap(bitmap.get("data")), int(origin[0]), int(origin[1]), picture.size))
    raise BadEntryError(f"geometryType is {short(kind)}; expected rectangle, polygon, bitmap, point or line")


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadEntryError(f"{short(value)}; expected an object with exterior and interior, or data and origin")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list | None):
        raise BadEntryError(f"{short(value)}; expected a list of polygons")
    return value or []


def _bitmap(text: Any) -> NDArray[np.bool_]:
    """A PNG, compressed again and in base64: its opacity, or where it is not black."""
    try:
        decompressor = zlib.decompressobj()
        content = decompressor.decompress(base64.b64decode(text), 2**28)
        image = identify(io.BytesIO(content))
        if exceeds_pixel_limit(*image.size):
            raise BadEntryError(f"bitmap has {image.width}x{image.height} pixels, too many (--max-pixels N)")
        image.load()
        if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
            found: NDArray[np.bool_] = np.asarray(image.convert("RGBA"))[..., 3] > 0
        else:
            found = np.asarray(image.convert("L")) > 0
    except BadEntryError:
        raise
    except (
        zlib.error,
        binascii.Error,
        OSError,
        ValueError,
        TypeError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:
        raise BadEntryError(f"bitmap is no PNG, compressed and in base64: {error}") from error
    return found


def _datasets(root: Path) -> list[Path]:
    """Folders with ``ann``, at the top or one in the other."""
    tops = [path for path in folders_in(root) if not is_hidden(path.name)]
    inner = [path for top in tops if (top / "datasets").is_dir() for path in folders_in(top / "datasets")]
    return [path for path in (*tops, *inner) if (path / "ann").is_dir()]
