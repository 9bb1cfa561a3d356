"""BDD100K: objects in pictures from cars, Scalabel's JSON of 2020 or of 2018.

Corners are pixels that belong to the box, so that its width is x2 - x1 + 1.  Other persons and vehicles and trailers
are crowds of the class that they resemble, as in the set's own evaluation.  Format: https://doc.bdd100k.com.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from internimage.data.formats.documents import LARGEST_SET, read_json
from internimage.data.formats.gathering import Gathering, settled
from internimage.data.formats.pictures import PictureFinder
from internimage.data.formats.shapes import BadEntryError, number, short
from internimage.data.objects import ObjectImages, Rule
from internimage.errors import DataError
from internimage.labels import load_labels
from internimage.settings.data import DataOptions

_SIZE = (720, 1280)  # of every picture
_PARTS = ("train", "val")
_FILES = (
    "labels/det_20/det_{part}.json",
    "det_20/det_{part}.json",
    "labels/bdd100k_labels_images_{part}.json",
    "det_{part}.json",
    "bdd100k_labels_images_{part}.json",
)
_FOLDERS = ("images/100k/{part}", "100k/{part}", "images/{part}", "{part}")
_OTHER_NAMES = {"person": "pedestrian", "bike": "bicycle", "motor": "motorcycle", "van": "car", "caravan": "car"}
_CROWDS = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
_EDGES = ("x1", "y1", "x2", "y2")


def recognise(root: Path) -> bool:
    """Whether the set's labels of objects lie at ``root``."""
    return bool(_files(root))


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    found = [_picture_folders(base, "train") for base in _bases(root)]
    return min(most, sum(1 for folders in found for folder in folders[:1] for _ in folder.iterdir()))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """Training and validation.

    Raises:
        DataError: entries contradict the format.
    """
    files = _files(root)
    chosen = {part: place for part, place in files.items() if part == wanted} or files
    gathered = {part: _gather(base, file, part) for part, (base, file) in chosen.items()}
    parts = settled(gathered, wanted, options, load_labels("bdd100k"))
    return {name: part.measured_by(Rule("bdd100k")) for name, part in parts.items()}


def _bases(root: Path) -> list[Path]:
    return [root, root / "bdd100k"] if root.is_dir() else []


def _files(root: Path) -> dict[str, tuple[Path, Path]]:
    """The folder of the set and the file of each part."""
    found: dict[str, tuple[Path, Path]] = {}
    for base in _bases(root):
        for name in _FILES:
            for part in _PARTS:
                file = base / name.format(part=part)
                if part not in found and file.is_file():
                    found[part] = base, file
    return found


def _picture_folders(base: Path, part: str) -> list[Path]:
    return [base / name.format(part=part) for name in _FOLDERS if (base / name.format(part=part)).is_dir()]


def _gather(base: Path, file: Path, name: str) -> Gathering:
    part = Gathering(str(file), "BDD100K", PictureFinder(_picture_folders(base, name), base))
    content = read_json(file, largest=LARGEST_SET)
    if not isinstance(content, list):
        raise DataError(f"{file} is no list; expected frames with name and labels, as BDD100K's det_20 has them")
    for index, frame in enumerate(content):
        where = f"{file} [{index}]"
        with part.entry("pictures", where):
            if not isinstance(frame, dict) or not isinstance(frame.get("labels") or [], list):
                raise BadEntryError(f"it is {short(frame)}; expected an object with name and labels")
            picture = part.find(frame.get("name"), _SIZE, frame.get("name"))
            for number_, one in enumerate(frame.get("labels") or []):
                if not isinstance(one, dict) or one.get("box2d") is None:
                    continue  # lanes, and where one may drive
                with part.entry("objects", f"{where} labels[{number_}]"):
                    attributes = one.get("attributes")
                    crowd = isinstance(attributes, dict) and attributes.get("crowd") is True
                    crowd = crowd or one.get("category") in _CROWDS
                    part.add(picture, class_of(one.get("category")), corners(one["box2d"]), None, crowd)
    return part


def class_of(category: Any) -> str:
    """The class that is measured of a category by any of its names, of a crowd that which it resembles.

    Raises:
        BadEntryError: there is none.
    """
    label = _OTHER_NAMES.get(str(category), _CROWDS.get(str(category), str(category)))
    if label not in load_labels("bdd100k"):
        raise BadEntryError(f"the category is {short(category)}; expected one of BDD100K's ten")
    return label


def corners(given: Any) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of a box2d, whose last pixel is inside.

    Raises:
        BadEntryError: it has none.
    """
    if not isinstance(given, dict):
        raise BadEntryError(f"box2d is {short(given)}; expected x1, y1, x2 and y2 in pixels")
    x1, y1, x2, y2 = (number(given.get(edge), f"box2d's {edge}") for edge in _EDGES)
    return x1, y1, x2 + 1, y2 + 1
