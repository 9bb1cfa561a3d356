"""OpenLane-V2, subset A: ``PART/SEGMENT/info/TIMESTAMP.json`` beside ``PART/SEGMENT/image/CAMERA/TIMESTAMP.jpg``.

Wang et al., OpenLane-V2, NeurIPS 2023, https://arxiv.org/abs/2304.10440; https://github.com/OpenDriveLab/OpenLane-V2.
The drives are Argoverse 2's.  What is called a lidar elsewhere is the vehicle here: x forward, y left, z up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from internimage.data.formats.documents import decode_json
from internimage.data.formats.pictures import check_name
from internimage.driving.data.frames import NUSCENES_CAMERAS, Camera, Frame
from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.driving.geometry.poses import Array, Pose
from internimage.errors import DataError, ImageReadError
from internimage.images.reader import picture_size

CAMERAS = (
    "ring_front_center",
    "ring_front_left",
    "ring_front_right",
    "ring_rear_left",
    "ring_rear_right",
    "ring_side_left",
    "ring_side_right",
)
"""The front one first: traffic elements are looked for in its picture, which stands upright."""

ATTRIBUTES = (
    "unknown",
    "red",
    "green",
    "yellow",
    "go_straight",
    "turn_left",
    "turn_right",
    "no_left_turn",
    "no_right_turn",
    "u_turn",
    "no_u_turn",
    "slight_left",
    "slight_right",
)
"""What traffic elements say, in the order of their numbers."""

_POINTS, _STEP = 201, 20  # of true lanes
_MOST = 2**28  # bytes of a record
_INFO = re.compile(r"\d+\.json")

Matrix = list[list[float]]


class _Extrinsic(msgspec.Struct):
    rotation: Matrix
    translation: list[float]


class _Intrinsic(msgspec.Struct):
    K: Matrix


class _Camera(msgspec.Struct):
    image_path: str
    extrinsic: _Extrinsic
    intrinsic: _Intrinsic


class _Lane(msgspec.Struct):
    points: list[tuple[float, float, float]]
    confidence: float = 1.0


class _Element(msgspec.Struct):
    attribute: int
    points: tuple[tuple[float, float], tuple[float, float]]
    confidence: float = 1.0


class Annotation(msgspec.Struct):
    """What is true of a frame, or predicted."""

    lane_centerline: list[_Lane]
    traffic_element: list[_Element]
    topology_lclc: Matrix
    topology_lcte: Matrix


class _Record(msgspec.Struct):
    segment_id: str
    timestamp: int
    sensor: dict[str, _Camera]
    pose: _Extrinsic
    annotation: Annotation | None = None


class _Picture(msgspec.Struct):
    image_path: str


class _Heading(msgspec.Struct):
    sensor: dict[str, _Picture]


class _Truth(msgspec.Struct):
    annotation: Annotation | None = None


_RECORD = msgspec.json.Decoder(_Record, strict=False)
_HEADING = msgspec.json.Decoder(_Heading, strict=False)
_TRUTH = msgspec.json.Decoder(_Truth, strict=False)
_WHAT = "record of OpenLane-V2"


def recognise(root: Path) -> bool:
    """Whether there is a record of a frame where they are to be."""
    if not root.is_dir():
        return False
    for part in sorted(root.iterdir()):
        for segment in sorted(part.iterdir()) if part.is_dir() else ():
            info = segment / "info"
            if info.is_dir():
                return any(_INFO.fullmatch(path.name) for path in info.iterdir())
    return False


def token_of(file: Path) -> str:
    """The identity of the frame that a record is of."""
    return f"{segment_of(file)}/{file.stem}"


def segment_of(file: Path) -> str:
    """The name of the drive that a record is of."""
    return file.parents[1].name


def order_of(file: Path) -> tuple[str, int]:
    """By what records are sorted: segment, time."""
    return segment_of(file), int(file.stem)


def read_frame(root: Path, file: Path, previous: str | None = None) -> tuple[Frame, LaneGraph | None]:
    """A frame, and what is true of it; None in parts whose truth is not published.

    Args:
        root: of the data, to which the paths of pictures are relative.
        file: the record.
        previous: identity of the frame before it.

    Raises:
        DataError: the record is none, contradicts itself, or a picture is not there.
    """
    record = decode_json(file, _RECORD, _WHAT, largest=_MOST)
    names = _in_order(file, list(record.sensor))
    cameras = [_camera(root, file, name, record.sensor[name], record.timestamp) for name in names]
    token = f"{record.segment_id}/{record.timestamp}"
    if token != token_of(file):
        raise DataError(f"{file} says that it is of {token}; expected {token_of(file)}, as its path has it")
    ego = _pose(record.pose, f"{file}, pose")
    frame = Frame(token, record.segment_id, record.timestamp, ego, Pose.identity(), tuple(cameras), previous=previous)
    return frame, None if record.annotation is None else lane_graph(record.annotation, str(file))


def read_pictures(root: Path, file: Path) -> dict[str, Path]:
    """The picture of each camera that a record names, the front one first; nothing else is looked at.

    Raises:
        DataError: the record is none, or has no camera.
    """
    sensor = decode_json(file, _HEADING, _WHAT, largest=_MOST).sensor
    return {name: _picture(root, file, sensor[name].image_path) for name in _in_order(file, list(sensor))}


def read_truth(file: Path) -> LaneGraph | None:
    """What is true of a frame, see :func:`read_frame`.

    Raises:
        DataError: the record is none, or contradicts itself.
    """
    annotation = decode_json(file, _TRUTH, _WHAT, largest=_MOST).annotation
    return None if annotation is None else lane_graph(annotation, str(file))


def lane_graph(annotation: Annotation, where: str) -> LaneGraph:
    """What a record says of lanes and traffic elements; ``where`` begins the message.

    Raises:
        DataError: matrices of other sizes, an attribute that is none, a number that is not finite.
    """
    lanes, elements = annotation.lane_centerline, annotation.traffic_element
    graph = LaneGraph(
        [np.array(lane.points, np.float64).reshape(-1, 3) for lane in lanes],
        np.array([lane.confidence for lane in lanes], np.float64),
        np.array([one.points for one in elements], np.float64).reshape(-1, 4),
        np.array([one.attribute for one in elements], np.int64),
        np.array([one.confidence for one in elements], np.float64),
        _matrix(annotation.topology_lclc, (len(lanes), len(lanes)), f"{where}, topology_lclc"),
        _matrix(annotation.topology_lcte, (len(lanes), len(elements)), f"{where}, topology_lcte"),
    ).checked(where)
    if len(elements) and not 0 <= graph.attributes.min() <= graph.attributes.max() < len(ATTRIBUTES):
        raise DataError(
            f"{where}: attributes from {graph.attributes.min()} to {graph.attributes.max()}; expected 0 to "
            f"{len(ATTRIBUTES) - 1}"
        )
    return graph


def as_measured(graph: LaneGraph) -> LaneGraph:
    """A true graph as OpenLane-V2 measures with it: of lanes of 201 points every 20th."""
    return replace(graph, lanes=[lane[::_STEP] if len(lane) == _POINTS else lane for lane in graph.lanes])


def annotation_of(graph: LaneGraph) -> Annotation:
    """The record's part of a graph, rows and columns in the order of its lanes and elements."""
    return Annotation(
        [
            _Lane([(float(x), float(y), float(z)) for x, y, z in lane], float(score))
            for lane, score in zip(graph.lanes, graph.scores, strict=True)
        ],
        [
            _Element(int(attribute), ((x0, y0), (x1, y1)), float(score))
            for (x0, y0, x1, y1), attribute, score in zip(
                graph.elements.tolist(), graph.attributes, graph.element_scores, strict=True
            )
        ],
        graph.lane_lane.tolist(),
        graph.lane_element.tolist(),
    )


def _matrix(rows: Matrix, shape: tuple[int, int], where: str) -> Array:
    lengths = {len(row) for row in rows}
    if len(rows) != shape[0] or lengths - {shape[1]}:
        raise DataError(f"{where} has {len(rows)} rows of {sorted(lengths)} numbers; expected {shape[0]} of {shape[1]}")
    return np.array(rows, np.float64).reshape(shape)


def _pose(given: _Extrinsic, where: str) -> Pose:
    if [*map(len, given.rotation)] != [3, 3, 3] or len(given.translation) != 3:
        raise DataError(f"{where}: expected a rotation of 3 rows of 3 and a translation of 3 numbers")
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = given.rotation, given.translation
    try:
        return Pose.from_matrix(whole)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _in_order(file: Path, names: Sequence[str]) -> list[str]:
    """Cameras of both subsets, the front one first, then others."""
    if not names:
        raise DataError(f"{file} has no camera; expected any of {', '.join(CAMERAS)}")
    known = (*CAMERAS, *NUSCENES_CAMERAS)
    return [name for name in known if name in names] + sorted(set(names) - set(known))


def _picture(root: Path, file: Path, name: str) -> Path:
    return root / check_name(str(file), name.lstrip("/"))


def _camera(root: Path, file: Path, name: str, given: _Camera, time: int) -> Camera:
    path = _picture(root, file, given.image_path)
    try:
        width, height = picture_size(path)
    except (ImageReadError, OSError) as error:
        raise DataError(f"{file}: the picture of {name} cannot be read: {error}") from error
    intrinsic = np.array(given.intrinsic.K, np.float64) if {*map(len, given.intrinsic.K)} == {3} else np.zeros(0)
    if intrinsic.shape != (3, 3) or not np.isfinite(intrinsic).all():
        raise DataError(f"{file}: K of {name} is {given.intrinsic.K}; expected 3 rows of 3 finite numbers")
    return Camera(name, path, intrinsic, _pose(given.extrinsic, f"{file}, {name}"), (height, width), time)
