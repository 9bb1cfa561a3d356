"""Frames of drives that are columns, made one by one when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np

from internimage.driving.data.frames import Camera, Frame
from internimage.driving.data.tables.drives import Array, Drives
from internimage.driving.geometry.boxes import GlobalBoxes
from internimage.driving.geometry.poses import Pose, rotation_matrices

_RACK = "static_object.bicycle_rack"
LIDAR_LIKE = Pose(np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.zeros(3))
"""From axes as the lidar of nuScenes has them (x right, y forward), at the ego's origin, to the ego."""


@dataclass(frozen=True, eq=False)
class DrivenFrames(Sequence[Frame]):
    """Frames of columns, made when they are asked for.

    Attributes:
        root: of the data.
        drives: the columns.
        numbers: rows of these frames.
        labels: of each category the number of its class; -1 for none.
    """

    root: Path
    drives: Drives
    numbers: Array
    labels: Array

    @cached_property
    def _sensors(self) -> Array:
        """(K, 3, 3) rotations of all sensors at once; of what is none, nobody asks."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return rotation_matrices(self.drives.sensor_rotations)

    @cached_property
    def _egos(self) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return rotation_matrices(self.drives.ego_rotations)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> Frame: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Frame, ...]: ...
    def __getitem__(self, place: int | slice) -> Frame | tuple[Frame, ...]:
        if isinstance(place, slice):
            return tuple(self[number] for number in range(*place.indices(len(self))))
        here = range(len(self))[place]
        drives, row = self.drives, int(self.numbers[here])
        before = int(self.numbers[here - 1]) if here else row
        follows = before != row and drives.scene_of[before] == drives.scene_of[row]
        ego, lidar, cameras = self._views(row)
        truth, racks = self._boxes(row) if len(drives.points) else (None, None)
        return Frame(
            drives.tokens[row],
            drives.scenes[drives.scene_of[row]],
            int(drives.times[row]),
            ego,
            lidar,
            cameras,
            drives.imu[row],
            drives.imu_after[row],
            truth,
            racks,
            drives.tokens[before] if follows else None,
        )

    def __iter__(self) -> Iterator[Frame]:
        return (self[place] for place in range(len(self)))

    def _views(self, row: int) -> tuple[Pose, Pose, tuple[Camera, ...]]:
        """Ego to global, lidar to ego, and the cameras."""
        drives = self.drives
        views = range(int(drives.view_starts[row]), int(drives.view_starts[row + 1]))
        ego, lidar = self._ego(views[0]), LIDAR_LIKE
        if drives.view_channels[views[0]] < 0:
            lidar, views = self._sensor(views[0]), views[1:]
        back = (ego @ lidar).inverse
        cameras = []
        for view in views:
            height, width = drives.view_sizes[view]
            cameras.append(
                Camera(
                    drives.channels[drives.view_channels[view]],
                    self.root / drives.files[view],
                    drives.intrinsics[drives.view_calibrations[view]],
                    back @ self._ego(view) @ self._sensor(view),
                    (int(height), int(width)),
                    int(drives.view_times[view]),
                )
            )
        return ego, lidar, tuple(cameras)

    def _ego(self, view: int) -> Pose:
        row = self.drives.view_egos[view]
        return Pose(self._egos[row], self.drives.ego_places[row])

    def _sensor(self, view: int) -> Pose:
        row = self.drives.view_calibrations[view]
        return Pose(self._sensors[row], self.drives.sensor_places[row])

    def _boxes(self, row: int) -> tuple[GlobalBoxes, GlobalBoxes]:
        """The boxes of all categories but racks, and the racks."""
        drives = self.drives
        rows = slice(int(drives.box_starts[row]), int(drives.box_starts[row + 1]))
        categories = drives.box_categories[rows]
        attributes = tuple(drives.attributes[one] if one >= 0 else "" for one in drives.box_attributes[rows])
        boxes = GlobalBoxes(
            drives.centres[rows],
            drives.sizes[rows],
            drives.rotations[rows],
            drives.velocities[rows],
            self.labels[categories],
            attributes,
            np.ones(len(categories)),
            drives.points[rows].astype(np.int64),
        )
        racks = np.array([name == _RACK for name in drives.categories], bool)[categories]
        return boxes.chosen(~racks), boxes.chosen(racks)
