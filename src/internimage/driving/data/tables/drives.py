"""The frames of a version of nuScenes as columns: its tables joined, in float64, without a record of Python's left.

Frames of a scene stand together by their times, scenes by their first.  Velocities are nuScenes' own: the way between
an object's annotations before and after one, or from or to the one where it begins or ends, unknown where these are
more than 1.5 s apart (3 s where there are both).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from internimage.data.formats.kept import kept_columns
from internimage.driving.data.tables.annotations import read_annotations
from internimage.driving.data.tables.can_bus import FOLDER, motion_file, read_motion
from internimage.driving.data.tables.tables import Problem, Sample, Scene, Tables
from internimage.driving.data.tables.views import read_views
from internimage.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]
_VERSION = 1  # of the columns that are kept
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Drives:
    """Frames, what each sensor saw of them, and the boxes around the vehicle.

    Attributes:
        scenes: names.
        tokens: of the F frames.
        scene_of, times: (F,) row of the scene; microseconds.
        usable: (F,) bool, whether nothing that a frame needs contradicts the format.
        imu, imu_after: (F, 9), see :func:`internimage.driving.data.tables.can_bus.read_motion`; zeros without records.
        felt: (scenes,) bool, whether there are records of motion.
        channels: names of the cameras, in the order in which a frame has them.
        view_starts: (F + 1,) the first view of each frame; that of the lidar comes before those of the cameras.
        view_channels: (V,) index of the channel; -1 for the lidar.
        view_calibrations, view_egos: (V,) rows of the two below.
        view_times, view_sizes: (V,) microseconds; (V, 2) height and width in pixels.
        files: of each view below the root.
        sensor_rotations, sensor_places, intrinsics: (K, 4) w, x, y, z, (K, 3) metres, sensor to ego; (K, 3, 3).
        ego_rotations, ego_places: the same of the vehicle, ego to global.
        box_starts: (F + 1,) the first box of each frame.
        centres, sizes, rotations, velocities: (N, 3), (N, 3), (N, 4), (N, 2) as in
            :class:`internimage.driving.geometry.boxes.GlobalBoxes`.
        box_categories, box_attributes, points: (N,) indices of names, -1 for no attribute; lidar and radar points.
        categories, attributes: names.
        problems: what contradicts the format.
    """

    scenes: tuple[str, ...]
    tokens: tuple[str, ...]
    scene_of: Array
    times: Array
    usable: Array
    imu: Array
    imu_after: Array
    felt: Array
    channels: tuple[str, ...]
    view_starts: Array
    view_channels: Array
    view_calibrations: Array
    view_egos: Array
    view_times: Array
    view_sizes: Array
    files: tuple[str, ...]
    sensor_rotations: Array
    sensor_places: Array
    intrinsics: Array
    ego_rotations: Array
    ego_places: Array
    box_starts: Array
    centres: Array
    sizes: Array
    rotations: Array
    velocities: Array
    box_categories: Array
    box_attributes: Array
    points: Array
    categories: tuple[str, ...]
    attributes: tuple[str, ...]
    problems: tuple[Problem, ...]


class _Moments(NamedTuple):
    """The frames before anything is known of them: rows of scenes, times, whether they can be used, lost tokens."""

    scenes: list[str]
    tokens: list[str]
    scene_of: Array
    times: Array
    usable: Array
    lost: list[str]


def read_drives(root: Path, version: str) -> Drives:
    """All frames of a version, from what is kept of them or from its tables.

    Args:
        root: of the data.
        version: folder of the tables below it.

    Raises:
        DataError: a table is missing or is no list of records, or there is no frame.
    """
    tables = Tables(root / version)
    motion = sorted((root / FOLDER).glob("*_pose.json"))
    columns = kept_columns([*tables.files(), *motion], ("nuScenes", _VERSION), lambda: _columns(_read(root, tables)))
    values: dict[str, Any] = dict(columns)
    for name in _TEXTS:
        kind = tuple[Problem, ...] if name == "problems" else tuple[str, ...]
        values[name] = msgspec.json.decode(columns[name].tobytes(), type=kind)
    return Drives(**values)


_TEXTS = ("scenes", "tokens", "channels", "files", "categories", "attributes", "problems")


def _columns(drives: Drives) -> dict[str, Array]:
    """Everything as arrays of numbers, texts as the bytes of a JSON list."""
    values = {one.name: getattr(drives, one.name) for one in fields(drives)}
    texts = {name: np.frombuffer(msgspec.json.encode(values[name]), np.uint8) for name in _TEXTS}
    return {**values, **texts}


def _read(root: Path, tables: Tables) -> Drives:
    moments = _read_moments(tables)
    rows = {token: row for row, token in enumerate(moments.tokens)} | dict.fromkeys(moments.lost, Tables.LOST)
    views = read_views(tables, rows, moments.scene_of, moments.usable)
    boxes = read_annotations(tables, rows, moments.scene_of, moments.times)
    imu, imu_after, felt = _read_motions(root, tables, moments)
    return Drives(
        scenes=tuple(moments.scenes),
        tokens=tuple(moments.tokens),
        scene_of=moments.scene_of,
        times=moments.times,
        usable=moments.usable,
        imu=imu,
        imu_after=imu_after,
        felt=felt,
        problems=tuple(tables.problems),
        **views._asdict(),
        **boxes._asdict(),
    )


def _read_moments(tables: Tables) -> _Moments:
    scenes = tables.read_all(Scene, "scene")
    scene_rows = tables.rows(scenes, "scene")
    samples = tables.read_all(Sample, "sample")
    chosen, lost = [], []
    for token, number in tables.rows(samples, "sample").items():
        scene = -1 if number == Tables.LOST else scene_rows.get(samples[number].scene_token, -1)
        if scene >= 0:
            chosen.append(samples[number])
            continue
        lost.append(token)
        if number != Tables.LOST and samples[number].scene_token not in scene_rows:
            tables.dangling("sample", samples[number], "scene_token", "scene")
    if not chosen:
        raise DataError(f"{tables.path('sample')} has no frame of a scene in {tables.path('scene')}")
    scene_of = np.array([scene_rows[one.scene_token] for one in chosen], np.int32)
    times = np.array([one.timestamp for one in chosen], np.int64)
    first = np.full(len(scenes), _NEVER)
    np.minimum.at(first, scene_of, times)
    order = np.lexsort((times, scene_of, first[scene_of]))
    scene_of, times = scene_of[order], times[order]
    chosen = [chosen[number] for number in order]
    usable = _in_time(tables, chosen, scene_of, frozenset(lost))
    return _Moments([one.name for one in scenes], [one.token for one in chosen], scene_of, times, usable, lost)


def _in_time(tables: Tables, samples: Sequence[Sample], scene_of: Array, lost: frozenset[str]) -> Array:
    """Of each whether it comes after the one that it names as the one before it."""
    usable = np.ones(len(samples), bool)
    rows = {one.token: row for row, one in enumerate(samples)}
    for row, one in enumerate(samples):
        before = rows.get(one.prev)
        if not one.prev or one.prev in lost or (before is not None and samples[before].timestamp < one.timestamp):
            continue
        usable[row] = False
        if before is None:
            tables.dangling("sample", one, "prev", "sample", scene=int(scene_of[row]))
        else:
            text = f"its time {one.timestamp} is not after {samples[before].timestamp} of the one before it"
            tables.add("sample", one.token, f"{text} ({one.prev})", scene=int(scene_of[row]))
    return usable


def _read_motions(root: Path, tables: Tables, moments: _Moments) -> tuple[Array, Array, Array]:
    """What was felt at each frame, before and after; of each scene whether that is known."""
    imu, imu_after = np.zeros((2, len(moments.times), 9))
    felt = np.zeros(len(moments.scenes), bool)
    for scene, name in enumerate(moments.scenes):
        frames = moments.scene_of == scene
        path = motion_file(root, name)
        if frames.any() and path.is_file():
            try:
                imu[frames], imu_after[frames] = read_motion(path, moments.times[frames])
                felt[scene] = True
            except DataError as error:
                tables.problems.append(Problem(str(error), "files", scene))
    return imu, imu_after, felt
