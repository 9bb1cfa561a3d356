"""What is known of one moment of a drive: cameras, poses, and the boxes around the vehicle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Self, overload

import numpy as np

from internimage.data.left_out import LeftOut, shortened
from internimage.data.samples import ImageFile, Measured, Part, renumbered
from internimage.driving.geometry.boxes import Boxes, GlobalBoxes, Numbers
from internimage.driving.geometry.poses import Array, Pose
from internimage.errors import DataError
from internimage.images import ImageSource
from internimage.writing import counted

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
class FrameSource(ImageSource):
    """A frame as what a pipeline reads; as a picture it is that of the first camera.

    Attributes:
        name: the scene and the frame's number within it, ``scene-0103#000012``.
        value: the first camera's file.
        moment: the frame.
        number: of the frame within its scene, from 0.
        near: the frame so many places later in the same scene, or earlier; None where there is none.
    """

    moment: Frame | None = None
    number: int = 0
    near: Callable[[int], Frame | None] = field(default=lambda offset: None, repr=False)


class Chosen(Sequence[Frame]):
    """Some frames of a sequence that makes them when they are asked for, with labels numbered anew.

    Args:
        frames: the sequence.
        numbers: places of the frames.
        labels: by old label the new one, -1 for what is left out; None for no change.
    """

    def __init__(self, frames: Sequence[Frame], numbers: Sequence[int], labels: Numbers | None = None) -> None:
        self.frames, self.numbers, self.labels = frames, numbers, labels

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> Frame: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Frame]: ...
    def __getitem__(self, place: int | slice) -> Frame | Sequence[Frame]:
        if isinstance(place, slice):
            return Chosen(self.frames, self.numbers[place], self.labels)
        frame = self.frames[self.numbers[place]]
        if self.labels is None or frame.truth is None:
            return frame
        known = np.append(self.labels, -1)  # -1, no class, stays
        return replace(frame, truth=replace(frame.truth, labels=known[frame.truth.labels]))


@dataclass(frozen=True)
class Frames(Part):
    """Frames of drives, those of a scene one after the other, sorted by time.

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

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Of each frame, by its token, the place among the frames."""
        return {frame.token: number for number, frame in enumerate(self.frames)}

    @cached_property
    def _starts(self) -> dict[str, int]:
        """Of each scene the place of its first frame."""
        starts: dict[str, int] = {}
        for number, frame in enumerate(self.frames):
            starts.setdefault(frame.scene, number)
        return starts

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of the drives, in order."""
        return tuple(self._starts)

    @property
    def channels(self) -> Sequence[tuple[str, ...]]:
        """Of each frame the names of its cameras; cheaper than to go through the frames where they are read anew."""
        return [tuple(camera.channel for camera in frame.cameras) for frame in self.frames]

    def source(self, entry: Frame) -> FrameSource:
        number = self.numbers[entry.token] - self._starts[entry.scene]
        near = partial(self.near, entry)
        return FrameSource(f"{entry.scene}#{number:06d}", entry.file, moment=entry, number=number, near=near)

    def near(self, entry: Frame, offset: int) -> Frame | None:
        """The frame so many places later in the same scene, or earlier; None where there is none."""
        place = self.numbers[entry.token] + offset
        frame = self.frames[place] if 0 <= place < len(self.frames) else None
        return frame if frame is not None and frame.scene == entry.scene else None

    def sequence_of(self, entry: Frame) -> str:
        return entry.scene

    def measured(self, entry: Frame, size: tuple[int, int]) -> Measured:
        """Its true boxes.

        Raises:
            DataError: nobody looked for any.
        """
        if entry.truth is None:
            raise DataError(
                f"{self.name}: frame {entry.token} has no annotations; expected a part that has some, such as val"
            )
        return Measured(entry.truth)

    def with_entries(self, entries: Sequence[Frame], name: str) -> Frames:
        return replace(self, frames=tuple(entries), name=name)

    def chosen(self, numbers: Sequence[int], name: str) -> Frames:
        return replace(self, frames=Chosen(self.frames, list(numbers)), name=name)

    def with_classes(self, classes: tuple[str, ...]) -> Frames:
        if classes == self.classes:
            return self
        number = renumbered(self, classes)
        table = np.array([number.get(label, -1) for label in range(len(self.classes))], np.int64)
        return replace(self, classes=classes, frames=Chosen(self.frames, range(len(self.frames)), table))

    def labels_of(self, entry: Frame) -> frozenset[int]:
        return frozenset(() if entry.truth is None else (int(one) for one in entry.truth.labels if one >= 0))

    def used(self) -> frozenset[int]:
        return frozenset(number for number, count in enumerate(self.counts()) if count)

    def counts(self) -> list[int]:
        """Boxes of each class."""
        total = np.zeros(len(self.classes), np.int64)
        for frame in self.frames:
            if frame.truth is not None:
                labels = frame.truth.labels
                total += np.bincount(labels[labels >= 0], minlength=len(total))
        return [int(count) for count in total]

    def summary(self) -> str:
        """``32 scenes, 128 frames, car 320, ...``."""
        named = sorted(zip(self.classes, self.counts(), strict=True), key=lambda row: -row[1])
        boxes = shortened([f"{name} {count}" for name, count in named])
        return ", ".join([counted(len(self.scenes), "scene"), counted(len(self), "frame"), *boxes])


@dataclass(frozen=True)
class ListedFrames(Frames):
    """Frames whose classes are the list of a set; what each shows is not known without much work."""

    def with_classes(self, classes: tuple[str, ...]) -> Self:
        if classes != self.classes:
            raise DataError(
                f"{self.name} has the classes of {self.format}, {', '.join(self.classes)}; the model's are "
                f"{', '.join(classes)}"
            )
        return self

    def labels_of(self, entry: Frame) -> frozenset[int]:
        return frozenset()

    def used(self) -> None:  # type: ignore[override]
        return None
