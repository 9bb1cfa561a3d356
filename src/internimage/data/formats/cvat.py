"""Objects as CVAT's XML for images describes them.

Format: https://docs.cvat.ai/docs/other/xml_format ("CVAT for images 1.1").  Boxes, polygons, masks and ellipses are
objects; polylines, points, cuboids and skeletons are left out and counted, tags and attributes are not looked at.  Run
lengths of a mask go along the rows of its own box, zeros first.  ``subset`` of a picture is its part.
"""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from internimage.data.formats.documents import read_xml
from internimage.data.formats.gathering import DrawnPicture, Gathering, settled
from internimage.data.formats.parts import part_named
from internimage.data.formats.places import annotation_files, holds, picture_finder, root_element, some_files
from internimage.data.formats.shapes import (
    BadEntryError,
    Box,
    Segmentation,
    ellipse,
    number,
    pasted,
    points_of,
    polygon,
    run_lengths,
    short,
    turned_box,
    whole,
)
from internimage.data.objects import ObjectImages
from internimage.errors import DataError
from internimage.images.decoding import exceeds_pixel_limit
from internimage.settings.data import DataOptions

_OTHERS = {"polyline": "polylines", "points": "points", "cuboid": "cuboids", "skeleton": "skeletons"}
_NOT_DRAWN = ("tag", "attribute")


def recognise(root: Path) -> bool:
    """Whether there is an XML file of CVAT's, for images or for video."""
    return any(_is_cvat(file) for file in some_files(root, ".xml"))


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on, about: the parts are not looked at."""
    files = [file for file, _ in annotation_files(root, ".xml") if _is_cvat(file)]
    return min(most, sum(file.read_bytes().count(b"<image ") for file in files))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """The parts of a data set: subsets of the tasks, or files called after parts.

    Raises:
        DataError: entries contradict the format, or it is of video.
    """
    gathered: dict[str, Gathering] = {}
    classes: dict[str, None] = {}
    for file, folder_part in annotation_files(root, ".xml"):
        if not _is_cvat(file):
            continue
        content = read_xml(file)
        if content.find("track") is not None:
            raise DataError(f"{file} is of video (track), which is not read; export as CVAT for images 1.1")
        classes |= dict.fromkeys((one.findtext("name") or "").strip() for one in content.iterfind("meta//labels/label"))
        for image in content.iterfind("image"):
            part = part_named(image.get("subset") or "") or part_named(file.stem) or folder_part or "all"
            if part not in gathered:
                name = f"{root} ({part})" if part != "all" else str(root)
                gathered[part] = Gathering(name, "CVAT", picture_finder(root, part))
            _read_picture(gathered[part], file, image)
    used = set().union(*(part.labels() for part in gathered.values()))
    listed = [name for name in classes if name] + sorted(used - set(classes))
    return settled(gathered, wanted, options, listed)


def _read_picture(part: Gathering, file: Path, image: Element) -> None:
    name = image.get("name")
    with part.entry("pictures", f"{file} image {short(name)}"):
        size = whole(image.get("height"), "height", 1), whole(image.get("width"), "width", 1)
        picture = part.find(name, size)
        for index, element in enumerate(image):
            where = f"{file} image {short(name)} {element.tag}[{index}]"
            if element.tag in _OTHERS:
                part.leave_out(f"{_OTHERS[element.tag]} are no objects", where)
            elif element.get("outside") == "1":
                part.leave_out("outside their picture, as CVAT says", where)
            elif element.tag not in _NOT_DRAWN:
                with part.entry("objects", where):
                    box, segmentation = _drawn(element, picture)
                    part.add(picture, element.get("label"), box, segmentation)


def _drawn(element: Element, picture: DrawnPicture) -> tuple[Box | None, Segmentation | None]:
    """Box and outline of an element."""
    turn = number(element.get("rotation", 0), "rotation")
    if element.tag == "box":
        x1, y1, x2, y2 = (number(element.get(key), key) for key in ("xtl", "ytl", "xbr", "ybr"))
        if not turn:
            return (x1, y1, x2, y2), None
        return None, [turned_box((x1, y1, x2, y2), turn, ((x1 + x2) / 2, (y1 + y2) / 2))]
    if element.tag == "polygon":
        pairs = [pair.split(",") for pair in (element.get("points") or "").split(";")]
        return None, [polygon(points_of(pairs))]
    if element.tag == "ellipse":
        x, y, across, down = (number(element.get(key), key) for key in ("cx", "cy", "rx", "ry"))
        return None, [ellipse(x, y, across, down, turn * np.pi / 180)]
    if element.tag == "mask":
        width, height = whole(element.get("width"), "width", 1), whole(element.get("height"), "height", 1)
        left, top = (whole(element.get(key), key, -int(1e5)) for key in ("left", "top"))
        if exceeds_pixel_limit(width, height):
            raise BadEntryError(f"a mask of {width}x{height} pixels, more than are read (--max-pixels N)")
        patch = _patch(element.get("rle") or "", height, width)
        return None, run_lengths(pasted(patch, left, top, picture.size))
    raise BadEntryError(f"an element {short(element.tag)}; expected box, polygon, ellipse, mask, polyline or points")


def _patch(text: str, height: int, width: int) -> NDArray[np.bool_]:
    """A mask (height, width) from run lengths along its rows."""
    counts = [whole(one.strip(), "rle") for one in text.split(",")]
    total = list(accumulate(counts))[-1]
    if total != height * width:
        raise BadEntryError(f"rle adds up to {total} pixels; expected {width}x{height}")
    runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    found: NDArray[np.bool_] = runs.reshape(height, width)
    return found


def _is_cvat(path: Path) -> bool:
    return root_element(path) == "annotations" and (holds(path, b"<image ") or holds(path, b"<track "))
