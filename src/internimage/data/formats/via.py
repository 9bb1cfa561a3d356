"""Objects as VGG Image Annotator (VIA 1 and 2) describes them: a saved project, or exported JSON or CSV.

Format: https://www.robots.ox.ac.uk/~vgg/software/via/.  Rectangles, polygons, circles and ellipses are objects; points
and polylines are left out and counted.  The class is the region attribute that all regions have.  Sizes are those of
the pictures.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from internimage.data.formats.documents import read_json, read_text
from internimage.data.formats.gathering import Gathering, settled
from internimage.data.formats.places import annotation_files, holds, picture_finder, some_files
from internimage.data.formats.shapes import BadEntryError, Box, Segmentation, ellipse, number, points_of, polygon, short
from internimage.data.objects import ObjectImages
from internimage.errors import DataError
from internimage.settings.data import DataOptions

_COLUMNS = ("filename", "region_count", "region_shape_attributes", "region_attributes")
_OTHERS = ("point", "polyline", "line")
_USUAL = ("class", "label", "name", "category", "type", "object")


class _Region(NamedTuple):
    """What is drawn, what is said of it, and where it stands in the file."""

    shape: Any
    attributes: Any
    where: str


class _File(NamedTuple):
    """One file: its part, and the regions of each picture."""

    path: Path
    part: str
    pictures: list[tuple[Any, list[_Region]]]


def recognise(root: Path) -> bool:
    """Whether there is a project or an export of VIA."""
    return any(_is_via(file) for file in some_files(root, ".json", ".csv"))


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    files = [_read(file, part or "all") for file, part in annotation_files(root, ".json", ".csv") if _is_via(file)]
    train = [one for one in files if one.part == "train"] or files
    return min(most, sum(len(one.pictures) for one in train))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """The parts of a data set, by folders that are called after parts.

    Raises:
        DataError: entries contradict the format, or several attributes may name the class.
    """
    files = [_read(file, part or "all") for file, part in annotation_files(root, ".json", ".csv") if _is_via(file)]
    attribute = _class_attribute(root, files)
    gathered: dict[str, Gathering] = {}
    for file in files:
        if file.part not in gathered:
            name = f"{root} ({file.part})" if file.part != "all" else str(root)
            gathered[file.part] = Gathering(name, "VIA", picture_finder(root, file.part, file.path.parent))
            gathered[file.part].notes.append(f"the class is the region attribute {attribute}")
        part = gathered[file.part]
        for picture_name, regions in file.pictures:
            with part.entry("pictures", f"{file.path} {short(picture_name)}"):
                picture = part.find(picture_name)
                for region in regions:
                    with part.entry("objects", region.where):
                        kind = _shape_of(region)
                        if kind in _OTHERS:
                            part.leave_out(f"{kind}s are no objects", region.where)
                            continue
                        box, outline = _drawn(region.shape, kind)
                        part.add(picture, _label(region.attributes, attribute), box, outline)
    return settled(gathered, wanted, options)


def _shape_of(region: _Region) -> str:
    if not isinstance(region.shape, dict) or not isinstance(region.attributes, dict):
        raise BadEntryError(f"is {short(region.shape)}; expected shape_attributes and region_attributes")
    return str(region.shape.get("name"))


def _drawn(shape: dict[str, Any], kind: str) -> tuple[Box | None, Segmentation | None]:
    """Box and outline of a region."""
    if kind == "rect":
        x, y, width, height = (number(shape.get(key), key) for key in ("x", "y", "width", "height"))
        return (x, y, x + width, y + height), None
    if kind == "polygon":
        x_all, y_all = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(x_all, list) or not isinstance(y_all, list) or len(x_all) != len(y_all):
            raise BadEntryError(f"its points are {short(x_all)} and {short(y_all)}; expected as many x as y")
        return None, [polygon(points_of([list(point) for point in zip(x_all, y_all, strict=True)]))]
    if kind in ("circle", "ellipse"):
        x, y = number(shape.get("cx"), "cx"), number(shape.get("cy"), "cy")
        keys = ("r", "r") if kind == "circle" else ("rx", "ry")
        across, down = (number(shape.get(key), key) for key in keys)
        return None, [ellipse(x, y, across, down, number(shape.get("theta", 0), "theta"))]
    raise BadEntryError(
        f"a shape of the kind {short(kind)}; expected rect, polygon, circle, ellipse, point or polyline"
    )


def _label(attributes: dict[str, Any], attribute: str) -> str:
    """The value of an attribute: a text, or of a checkbox the only one that is chosen."""
    value = attributes.get(attribute)
    if isinstance(value, dict):
        chosen = [name for name, on in value.items() if on]
        if len(chosen) != 1:
            raise BadEntryError(f"{attribute} has {len(chosen)} choices, {short(chosen)}; expected one")
        return chosen[0]
    if not isinstance(value, str | int) or not str(value).strip():
        raise BadEntryError(f"{attribute} is {short(value)}; expected the name of the class")
    return str(value).strip()


def _class_attribute(root: Path, files: list[_File]) -> str:
    """The region attribute that names the class: the only one that all regions have, or that is usually called so."""
    regions = [region for file in files for _, found in file.pictures for region in found]
    filled = Counter(
        name
        for region in regions
        if isinstance(region.attributes, dict)
        for name, value in region.attributes.items()
        if value
    )
    everywhere = [name for name, count in filled.items() if count == len(regions)]
    found = everywhere or list(filled)
    usual = [name for name in found if name.lower() in _USUAL]
    if len(found) == 1 or len(usual) == 1:
        return (usual or found)[0]
    if not found:
        raise DataError(
            f"{root}: no region of VIA's has an attribute that names its class; draw with one, such as class"
        )
    raise DataError(
        f"{root}: the regions have the attributes {', '.join(found)}; expected one that names the class: call it class"
    )


def _read(path: Path, part: str) -> _File:
    if path.suffix.lower() == ".csv":
        return _File(path, part, _csv_pictures(path))
    content = read_json(path)
    if isinstance(content, dict) and isinstance(content.get("_via_img_metadata"), dict):
        content = content["_via_img_metadata"]
    if not isinstance(content, dict):
        raise DataError(f"{path} is no object of pictures; expected VIA's project, or its JSON export")
    pictures: list[tuple[Any, list[_Region]]] = []
    for key, entry in content.items():
        if isinstance(entry, dict) and "regions" in entry:
            given = entry["regions"] or []
            regions = list(given.values()) if isinstance(given, dict) else given  # VIA 1 numbers them
            found = [_region(one, f"{path} {key} regions[{index}]") for index, one in enumerate(regions)]
            pictures.append((entry.get("filename"), found))
    return _File(path, part, pictures)


def _region(content: Any, where: str) -> _Region:
    if not isinstance(content, dict):
        return _Region(content, None, where)
    return _Region(content.get("shape_attributes"), content.get("region_attributes"), where)


def _csv_pictures(path: Path) -> list[tuple[Any, list[_Region]]]:
    """Rows of one region each; a picture without any has a row with a count of 0."""
    pictures: dict[str, list[_Region]] = {}
    for line, row in enumerate(_rows(path), 2):
        regions = pictures.setdefault(row["filename"], [])
        if row["region_count"] not in ("0", "") or row["region_shape_attributes"] not in ("{}", ""):
            where = f"{path} line {line}"
            shape, attributes = (_parsed(row[key]) for key in ("region_shape_attributes", "region_attributes"))
            regions.append(_Region(shape, attributes, where))
    return list(pictures.items())


def _rows(path: Path) -> Iterator[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(read_text(path).lstrip("#"), newline=""))
    try:
        yield from ({key: row.get(key) or "" for key in _COLUMNS} for row in reader)
    except csv.Error as error:
        raise DataError(f"{path} is not a readable CSV file: {error}") from error


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_via(path: Path) -> bool:
    if path.suffix.lower() == ".csv":
        return holds(path, b"filename,", b"region_shape_attributes", b"region_attributes")
    return holds(path, b'"file_attributes"', b'"regions"') or holds(path, b'"_via_img_metadata"')
