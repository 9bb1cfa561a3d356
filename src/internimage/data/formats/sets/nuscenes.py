"""nuScenes' objects in camera pictures, as its tools project the boxes in space (``image_annotations.json``).

Classes are the ten of its detection task; categories that are of none are left out and counted.
Format: https://github.com/nutonomy/nuscenes-devkit (``export_2d_annotations_as_json.py``).
"""

from __future__ import annotations

from pathlib import Path

from internimage.data.formats.documents import LARGEST_SET, read_json
from internimage.data.formats.gathering import DrawnPicture, Gathering, settled
from internimage.data.formats.pictures import PictureFinder
from internimage.data.formats.shapes import BadEntryError, number, short
from internimage.data.objects import ObjectImages, Rule
from internimage.errors import DataError
from internimage.labels import load_labels
from internimage.settings.data import DataOptions

_SIZE = (900, 1600)  # of every picture
_FILE = "image_annotations.json"
CLASS_OF = {
    "movable_object.barrier": "barrier",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
}
"""The class of the detection task that a category is of."""

WITHOUT_CLASS = (
    "animal",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair",
    "movable_object.debris",
    "movable_object.pushable_pullable",
    "static_object.bicycle_rack",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
)
"""Categories that are of none."""


def recognise(root: Path) -> bool:
    """Whether such a file lies in a version's folder below ``root``."""
    return bool(_files(root))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """All pictures that have objects; the scenes of training and validation are not told apart.

    Raises:
        DataError: there are several versions, or entries contradict the format.
    """
    files = _files(root)
    if len(files) > 1:
        names = ", ".join(str(file.relative_to(root)) for file in files)
        raise DataError(f"{root} has {names}; expected one version, give its file")
    file = files[0]
    content = read_json(file, largest=LARGEST_SET)
    if not isinstance(content, list):
        raise DataError(f"{file} is no list; expected entries with filename, category_name and bbox_corners")
    base = file.parent.parent
    part = Gathering(str(file), "nuScenes", PictureFinder([base], base))
    pictures: dict[str, DrawnPicture] = {}
    for index, entry in enumerate(content):
        where = f"{file} [{index}]"
        with part.entry("objects", where):
            if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
                raise BadEntryError(f"it is {short(entry)}; expected an object with filename")
            name, category, box = entry["filename"], entry.get("category_name"), entry.get("bbox_corners")
            if name not in pictures:
                pictures[name] = part.find(name, _SIZE, name)
            if not isinstance(box, list) or len(box) != 4:
                raise BadEntryError(f"bbox_corners is {short(box)}; expected x1, y1, x2 and y2 in pixels")
            if category not in CLASS_OF and category not in WITHOUT_CLASS:
                raise BadEntryError(f"the category is {short(category)}; expected one of nuScenes' 23")
            if category not in CLASS_OF:
                part.leave_out("of none of the ten classes of detection", f"{where} {category}", meant=True)
                continue
            x1, y1, x2, y2 = (number(value, "bbox_corners") for value in box)
            part.add(pictures[name], CLASS_OF[category], (x1, y1, x2, y2))
    parts = settled({"all": part}, wanted, options, load_labels("nuscenes"))
    return {name: part.measured_by(Rule()) for name, part in parts.items()}


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.name == _FILE else []
    return [file for file in (root / _FILE, *sorted(root.glob(f"v1.0-*/{_FILE}"))) if file.is_file()]
