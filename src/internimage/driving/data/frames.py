"""What is known of one moment of a drive: cameras, poses, and the boxes around the vehicle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import overload

import numpy as np

from internimage.data.left_out import LeftOut
from internimage.data.samples import ImageFile, Part
from internimage.driving.geometry.boxes import Boxes, GlobalBoxes, Numbers
from internimage.driving.geometry.poses import Array, Pose
from internimage.errors import DataError

NUSCENES_CAMERAS = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_FRONT_LEFT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_BACK_RIGHT",
)
"""In the order of the released models' camera embeddings."""

NUSCENES_CLASSES = (
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)
"""In the order of the released models' outputs."""


@dataclass(frozen=True, eq=False)
class Camera:
    """One camera's picture of a moment.

    Attributes:
        channel: its name, such as "CAM_FRONT".
        file: the picture.
        intrinsic: (3, 3) float64, camera to pixels of the picture as it is on disk.
        pose: camera to the frame's lidar, through the global frame where the two saw different moments.
        size: (height, width) of the picture in pixels.
        time: microseconds.
    """

    channel: str
    file: ImageFile
    intrinsic: Array
    pose: Pose
    size: tuple[int, int]
    time: int

    @cached_property
    def lidar_to_pixels(self) -> Array:
        """(4, 4) float64: lidar points to (u d, v d, d, 1), d the depth in metres, u and v in pixels."""
        whole = np.eye(4)
        whole[:3, :3] = self.intrinsic
        product: Array = whole @ self.pose.inverse.matrix
        return product


@dataclass(frozen=True, eq=False)
class Frame:
    """One moment.

    Attributes:
        token: its identity.
        scene: name of the drive that it is a moment of.
        time: microseconds.
        ego: ego to global, when the lidar saw.
        lidar: lidar to ego.  Data without a lidar have the ego's place and axes like a lidar's: y points forward.
        cameras: those that there are pictures of; a camera may be missing.
        imu: (9,) acceleration, rotation rate and velocity of the last record up to ``time``; zeros without any.
        imu_after: (9,) the same of the record after it, by which the released models were trained.
        truth: the boxes, with all classes that the data has and -1 for others; None where nobody looked.
        racks: bicycle racks, in which no bicycle is measured.
        previous: token of the frame before it in the same scene; None for the first.
    """

    token: str
    scene: str
    time: int
    ego: Pose
    lidar: Pose
    cameras: tuple[Camera, ...]
    imu: Array = field(default_factory=lambda: np.zeros(9))
    imu_after: Array = field(default_factory=lambda: np.zeros(9))
    truth: GlobalBoxes | None = None
    racks: GlobalBoxes | None = None
    previous: str | None = None

    @property
    def file(self) -> ImageFile:
        """Of the first camera; it stands for the frame where one file is named."""
        return self.cameras[0].file

    @cached_property
    def lidar_to_global(self) -> Pose:
        """The way from the frame in which boxes are predicted to the one in which they are measured."""
        return self.ego @ self.lidar

    @cached_property
    def boxes(self) -> Boxes:
        """The true boxes of known classes in the lidar frame; none where nobody looked."""
        if self.truth is None:
            return Boxes.empty()
        return self.truth.chosen(self.truth.labels >= 0).upright(self.lidar_to_global)


@dataclass(frozen=True, eq=False)
class _Renumbered(Sequence[Frame]):
    """Frames with other numbers for the classes, changed when they are asked for.

    Attributes:
        frames: as they were.
        numbers: (classes + 1,) the new number of each class; the last, -1, is that of none.
    """

    frames: Sequence[Frame]
    numbers: Numbers

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, place: int) -> Frame: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Frame, ...]: ...
    def __getitem__(self, place: int | slice) -> Frame | tuple[Frame, ...]:
        found = self.frames[place]
        return self._changed(found) if isinstance(found, Frame) else tuple(map(self._changed, found))

    def _changed(self, frame: Frame) -> Frame:
        if frame.truth is None:
            return frame
        return replace(frame, truth=replace(frame.truth, labels=self.numbers[frame.truth.labels]))


@dataclass(frozen=True)
class Frames(Part):
    """Frames of drives, sorted by time, those of a scene one after the other.

    Attributes:
        name, classes, format, left_out, notes, listed: see :class:`internimage.data.samples.Part`.
        frames: made when they are asked for, where there are many.
    """

    name: str
    classes: tuple[str, ...]
    frames: Sequence[Frame]
    format: str = "nuScenes"
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    listed: bool = False

    @property
    def entries(self) -> Sequence[Frame]:
        """The frames; what every data set calls them."""
        return self.frames

    def with_entries(self, entries: Sequence[Frame], name: str) -> Frames:
        return replace(self, frames=tuple(entries), name=name)

    def with_classes(self, classes: tuple[str, ...]) -> Frames:
        """The same frames, numbered by another list of classes; boxes of classes that are not in it are of none.

        Raises:
            DataError: it has none of the classes.
        """
        if classes == self.classes:
            return self
        if not set(classes) & set(self.classes):
            raise DataError(
                f"{self.name} has the classes {', '.join(self.classes)}; none is among {', '.join(classes)}"
            )
        numbers = [classes.index(name) if name in classes else -1 for name in self.classes]
        return replace(self, classes=classes, frames=_Renumbered(self.frames, np.array([*numbers, -1])))

    def labels_of(self, entry: Frame) -> frozenset[int]:
        return frozenset(() if entry.truth is None else (int(one) for one in entry.truth.labels if one >= 0))
