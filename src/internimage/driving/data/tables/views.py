"""What the lidar and the cameras saw at each annotated moment: calibrations, the vehicle's places, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from internimage.data.formats.pictures import check_name
from internimage.driving.data.frames import NUSCENES_CAMERAS
from internimage.driving.data.tables.tables import CalibratedSensor, EgoPose, SampleData, Sensor, Tables
from internimage.driving.geometry.poses import are_rotations
from internimage.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]
_LIDAR = "LIDAR_TOP"
_OTHER = -2  # a sensor that is not used
_NO_ROTATION = "is no rotation; expected a quaternion (w, x, y, z) of length 1, and a place of finite numbers"


class Views(NamedTuple):
    """The columns of views of :class:`internimage.driving.data.tables.drives.Drives`."""

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


def read_views(tables: Tables, frames: Mapping[str, int], scene_of: Array, usable: Array) -> Views:
    """The views of frames.

    Args:
        tables: of a version; notes what contradicts the format.
        frames: row of each by its token, the usable ones first and in their order.
        scene_of: (F,) row of the scene.
        usable: (F,) bool; of frames that cannot be used it becomes false.
    """
    return _Reader(tables, frames, scene_of, usable).read()


class _Reader:
    """Reads the tables one after the other."""

    def __init__(self, tables: Tables, frames: Mapping[str, int], scene_of: Array, usable: Array) -> None:
        self._tables = tables
        self._frames = frames
        self._scene_of = scene_of
        self._usable = usable
        self._records: list[SampleData] = []  # of key frames
        self._calibrations: list[CalibratedSensor] = []
        self._ego_rows: dict[str, int] = {}
        self._rows: list[tuple[int, int, int, int]] = []  # of each record: frame, channel, calibration, ego pose

    def read(self) -> Views:
        channels, codes = self._channels()
        self._read_records(channels, codes)
        ego = self._read_egos()
        sensors, intrinsics = self._checked_calibrations()
        rows = np.array(self._rows, np.int64).reshape(-1, 4)
        order = np.lexsort((rows[:, 1], rows[:, 0]))
        rows, records = rows[order], [self._records[number] for number in order]
        self._check_frames(channels, rows, codes)
        sizes = np.array([(one.height or 0, one.width or 0) for one in records], np.int32).reshape(-1, 2)
        return Views(
            tuple(channels),
            np.searchsorted(rows[:, 0], np.arange(len(self._usable) + 1)),
            rows[:, 1].astype(np.int16),
            rows[:, 2].astype(np.int32),
            rows[:, 3].astype(np.int32),
            np.array([one.timestamp for one in records], np.int64),
            sizes,
            tuple(one.filename for one in records),
            sensors[:, :4],
            sensors[:, 4:],
            intrinsics,
            ego[:, :4],
            ego[:, 4:],
        )

    def _channels(self) -> tuple[list[str], list[int]]:
        """Names of the cameras, those of nuScenes first, and of each calibration the index of one."""
        sensors = self._tables.read_all(Sensor, "sensor")
        rows = self._tables.rows(sensors, "sensor")
        self._calibrations = self._tables.read_all(CalibratedSensor, "calibrated_sensor")
        names = {one.channel for one in sensors if one.modality == "camera"}
        channels = [name for name in NUSCENES_CAMERAS if name in names]
        channels += sorted(names - set(channels))
        lidars = sorted(one.channel for one in sensors if one.modality == "lidar")
        lidar = _LIDAR if _LIDAR in lidars else next(iter(lidars), None)
        codes = []
        for one in self._calibrations:
            row = rows.get(one.sensor_token, -1)
            codes.append(_OTHER)
            if row == -1:
                self._tables.dangling("calibrated_sensor", one, "sensor_token", "sensor")
            elif row >= 0 and sensors[row].modality == "camera":
                codes[-1] = channels.index(sensors[row].channel)
            elif row >= 0 and sensors[row].channel == lidar:
                codes[-1] = -1
        return channels, codes

    def _read_records(self, channels: list[str], codes: list[int]) -> None:
        """Those of annotated moments; most are of moments between."""
        calibrations = self._tables.rows(self._calibrations, "calibrated_sensor")
        for piece in self._tables.read(SampleData, "sample_data"):
            for one in piece:
                if not one.is_key_frame:
                    continue
                frame = self._frames.get(one.sample_token, -1)
                calibration = calibrations.get(one.calibrated_sensor_token, -1)
                if frame == Tables.LOST:
                    continue
                if frame < 0:
                    self._tables.dangling("sample_data", one, "sample_token", "sample")
                elif calibration == Tables.LOST:
                    self._refuse(frame)
                elif calibration < 0:
                    self._refuse(frame)
                    scene = self._scene(frame)
                    self._tables.dangling(
                        "sample_data", one, "calibrated_sensor_token", "calibrated_sensor", scene=scene
                    )
                elif codes[calibration] != _OTHER:
                    if codes[calibration] >= 0 and (wrong := _wrong_picture(one)):
                        self._refuse(frame)
                        self._tables.add("sample_data", one.token, wrong, scene=self._scene(frame))
                    ego = self._ego_rows.setdefault(one.ego_pose_token, len(self._ego_rows))
                    self._records.append(one)
                    self._rows.append((frame, codes[calibration], calibration, ego))

    def _read_egos(self) -> Array:
        """(E, 7) rotation and place of the vehicle where it was seen from; zeros for what cannot be used."""
        egos = np.zeros((len(self._ego_rows), 7))
        found = np.zeros(len(egos), bool)
        for piece in self._tables.read(EgoPose, "ego_pose"):
            for one in piece:
                row = self._ego_rows.get(one.token)
                if row is not None:
                    egos[row] = (*one.rotation, *one.translation)
                    found[row] = True
        seen = found.copy()
        for token in self._tables.rows((), "ego_pose"):
            if token in self._ego_rows:
                seen[self._ego_rows[token]] = True
        good = are_rotations(egos[:, :4]) & np.isfinite(egos).all(axis=1)
        tokens = list(self._ego_rows)
        scenes = {ego: self._scene(frame) for frame, _, _, ego in self._rows}
        for number in np.flatnonzero(found & ~good).tolist():
            text = f"rotation {egos[number, :4].tolist()}, translation {egos[number, 4:].tolist()} {_NO_ROTATION}"
            self._tables.add("ego_pose", tokens[number], text, scene=scenes[number])
        for record, (frame, _, _, ego) in zip(self._records, self._rows, strict=True):
            if not good[ego]:
                self._refuse(frame)
                if not seen[ego]:
                    scene = self._scene(frame)
                    self._tables.dangling("sample_data", record, "ego_pose_token", "ego_pose", scene=scene)
        return egos

    def _checked_calibrations(self) -> tuple[Array, Array]:
        """(K, 7) rotation and place of each sensor, (K, 3, 3) what its pictures are taken with."""
        poses = np.array([(*one.rotation, *one.translation) for one in self._calibrations], np.float64).reshape(-1, 7)
        intrinsics = np.zeros((len(poses), 3, 3))
        good = are_rotations(poses[:, :4]) & np.isfinite(poses).all(axis=1)
        cameras = {calibration for _, channel, calibration, _ in self._rows if channel >= 0}
        for row in sorted({calibration for _, _, calibration, _ in self._rows}):
            one = self._calibrations[row]
            if not good[row]:
                text = f"rotation {list(one.rotation)}, translation {list(one.translation)} {_NO_ROTATION}"
                self._tables.add("calibrated_sensor", one.token, text)
            if row in cameras:
                three = [len(line) for line in one.camera_intrinsic] == [3, 3, 3]
                if three and np.isfinite(one.camera_intrinsic).all():
                    intrinsics[row] = one.camera_intrinsic
                else:
                    good[row] = False
                    text = f"camera_intrinsic is {one.camera_intrinsic}; expected 3x3 finite numbers"
                    self._tables.add("calibrated_sensor", one.token, text)
        for frame, _, calibration, _ in self._rows:
            if not good[calibration]:
                self._refuse(frame)
        return poses, intrinsics

    def _check_frames(self, channels: list[str], rows: Array, codes: list[int]) -> None:
        """That each has a picture, the lidar's place if the others have one, and nothing twice."""
        names = {-1: "lidar", **dict(enumerate(channels))}
        tokens = list(self._frames)
        seen = np.zeros((len(self._usable), len(channels) + 1), np.int64)
        np.add.at(seen, (rows[:, 0], rows[:, 1]), 1)  # the lidar is the last
        for frame in np.flatnonzero(~seen[:, :-1].any(axis=1)):
            self._wrong(tokens, int(frame), "no record of sample_data.json is a camera's picture of it")
        if -1 in codes:
            for frame in np.flatnonzero(seen[:, -1] == 0):
                self._wrong(tokens, int(frame), "no record of sample_data.json is the lidar's of it")
        for frame, code in np.argwhere(seen > 1):
            channel = int(code) if code < len(channels) else -1
            text = f"{seen[frame, code]} records of sample_data.json are of its {names[channel]}; expected one"
            self._wrong(tokens, int(frame), text)

    def _wrong(self, tokens: list[str], frame: int, text: str) -> None:
        self._refuse(frame)
        self._tables.add("sample", tokens[frame], text, scene=self._scene(frame))

    def _refuse(self, frame: int) -> None:
        self._usable[frame] = False

    def _scene(self, frame: int) -> int:
        return int(self._scene_of[frame])


def _wrong_picture(record: SampleData) -> str:
    """What is wrong about where a camera's picture is and its size; nothing if all is well."""
    if not (record.height and record.width and record.height > 0 and record.width > 0):
        return f"height {record.height} and width {record.width}; expected those of the picture in pixels"
    try:
        check_name("filename", record.filename)
    except DataError as error:
        return str(error)
    return ""
