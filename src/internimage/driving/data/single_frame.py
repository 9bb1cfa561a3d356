"""Frames as MMDetection3D describes them (info version 1.1), in a ``frame.json`` beside ``samples/`` with the pictures.

Matrices are rounded to float32 there; places in the map are off by up to a tenth of a millimetre.  Boxes are
x, y, z of the volume's centre, length, width, height and heading in the lidar frame.
Format: https://mmdetection3d.readthedocs.io/en/latest/advanced_guides/datasets/nuscenes.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from internimage.data.formats.documents import read_json
from internimage.data.formats.pictures import check_name
from internimage.data.left_out import BadEntries
from internimage.driving.data.frames import NUSCENES_CAMERAS, NUSCENES_CLASSES, Camera, Frame, Frames
from internimage.driving.geometry.boxes import Boxes, GlobalBoxes, in_global
from internimage.driving.geometry.poses import Pose, wrapped
from internimage.errors import DataError
from internimage.images.reader import picture_size
from internimage.settings.data import DataOptions

FILE = "frame.json"
_MOST = 2**28  # bytes
Matrix = list[list[float]]
Value = TypeVar("Value")


class _Picture(msgspec.Struct):
    img_path: str
    cam2img: Matrix
    lidar2cam: Matrix
    timestamp: float


class _Lidar(msgspec.Struct):
    lidar2ego: Matrix


class _Instance(msgspec.Struct):
    bbox_label_3d: int
    bbox_3d: tuple[float, float, float, float, float, float, float]
    velocity: tuple[float, float] = (float("nan"), float("nan"))
    num_lidar_pts: int = -1
    num_radar_pts: int = 0


class _Entry(msgspec.Struct):
    token: str
    timestamp: float
    ego2global: Matrix
    images: dict[str, _Picture]
    lidar_points: _Lidar
    instances: list[_Instance] | None = None
    scene_token: str | None = None


class _About(msgspec.Struct):
    categories: dict[str, int]


def recognise(root: Path) -> bool:
    """Whether there is a ``frame.json`` with a list of frames."""
    path = root / FILE
    if not path.is_file() or path.stat().st_size > _MOST:
        return False
    return b'"data_list"' in path.read_bytes()


def estimate(root: Path, most: int) -> int:
    """How many frames there are."""
    return min(most, (root / FILE).read_bytes().count(b'"ego2global"'))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, Frames]:
    """All frames as one part "all".  A frame that does not say its scene is one of its own.

    Args:
        root: of the data.
        wanted: there is but one part.
        options: with ``bad_entries`` "drop", frames that contradict the format are left out.

    Raises:
        DataError: the file or a frame is not as it should be.
    """
    path = root / FILE
    content = _converted(read_json(path, largest=_MOST), dict[str, object], str(path))
    about = _converted(content.get("metainfo"), _About, f"{path}: metainfo")
    entries = _converted(content.get("data_list"), list[object], f"{path}: data_list")
    names = [name for name in NUSCENES_CLASSES if name in about.categories]
    names += [name for name in about.categories if name not in names]
    labels = {number: names.index(name) for name, number in about.categories.items()}
    bad = BadEntries()
    frames: list[Frame] = []
    for number, entry in enumerate(entries):
        where = f"{path}: data_list[{number}]"
        try:
            frames.append(_frame(root, _converted(entry, _Entry, where), labels))
        except DataError as error:
            text = str(error)
            bad.add("frames", text if text.startswith(where) else f"{where}: {text}")
    left_out = bad.settle(options is not None and options.bad_entries == "drop", {"frames": len(entries)})
    if not entries:
        raise DataError(f"{path}: data_list is empty; expected at least one frame")
    scenes = {scene: number for number, scene in reversed(list(enumerate(one.scene for one in frames)))}
    frames.sort(key=lambda one: (scenes[one.scene], one.time))
    linked = [
        replace(one, previous=before.token) if before is not None and before.scene == one.scene else one
        for before, one in zip([None, *frames], frames, strict=False)
    ]
    classes = tuple(names)
    listed = classes == NUSCENES_CLASSES
    return {"all": Frames(str(root), classes, tuple(linked), "MMDetection3D's frames", left_out, listed=listed)}


def _frame(root: Path, entry: _Entry, labels: Mapping[int, int]) -> Frame:
    lidar, ego = Pose.from_matrix(entry.lidar_points.lidar2ego), Pose.from_matrix(entry.ego2global)
    order = [name for name in NUSCENES_CAMERAS if name in entry.images]
    order += [name for name in entry.images if name not in order]
    if not order:
        raise DataError("images is empty; expected at least one camera's")
    cameras = tuple(_camera(root, name, entry.images[name]) for name in order)
    truth = None if entry.instances is None else _boxes(entry.instances, labels, ego @ lidar)
    scene = entry.scene_token or entry.token
    return Frame(entry.token, scene, _microseconds(entry.timestamp), ego, lidar, cameras, truth=truth)


def _camera(root: Path, channel: str, picture: _Picture) -> Camera:
    name = check_name(f"images.{channel}.img_path", picture.img_path)
    places = [root / "samples" / name, root / "samples" / channel / name, root / name]
    file = next((path for path in places if path.is_file()), places[0])
    if not file.is_file():
        raise DataError(f"{file} is not there; expected the picture of {channel}")
    width, height = picture_size(file)
    intrinsic = np.array(picture.cam2img, np.float64)
    if intrinsic.shape != (3, 3) or not np.isfinite(intrinsic).all():
        raise DataError(f"images.{channel}.cam2img is {picture.cam2img}; expected 3x3 finite numbers")
    pose = Pose.from_matrix(picture.lidar2cam).inverse
    return Camera(channel, file, intrinsic, pose, (height, width), _microseconds(picture.timestamp))


def _boxes(instances: list[_Instance], labels: Mapping[int, int], lidar_to_global: Pose) -> GlobalBoxes:
    rows = np.array([(*one.bbox_3d, *one.velocity) for one in instances], np.float64).reshape(-1, 9)
    numbers = np.array([labels.get(one.bbox_label_3d, -1) for one in instances], np.int64)
    sizes = rows[:, [4, 3, 5]]  # width first
    boxes = Boxes(rows[:, :3], sizes, wrapped(rows[:, 6]), rows[:, 7:], numbers, np.ones(len(rows)))
    points = [one.num_lidar_pts + max(0, one.num_radar_pts) if one.num_lidar_pts >= 0 else -1 for one in instances]
    found = in_global(boxes, lidar_to_global, [""] * len(rows))
    return replace(found, points=np.array(points, np.int64))


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)


def _converted(value: object, kind: type[Value], where: str) -> Value:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise DataError(f"{where}: {error}; expected frames of MMDetection3D's info version 1.1") from error
