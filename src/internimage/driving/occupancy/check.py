"""Looking over labels of voxels before hours are spent on them.  Reads only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from internimage.data.checking import count_lines
from internimage.drawing.canvas import INK, Colour
from internimage.drawing.charts import contact_sheet
from internimage.driving.data.frames import Frame
from internimage.driving.data.occ3d import CLASSES, UNKNOWN, VoxelGrid
from internimage.driving.drawing.space_sheet import draw_space_frame
from internimage.driving.occupancy.reading import SpaceFrames
from internimage.errors import DataError

_SHOWN = 4
_WIDTH = 1600
_STANDING = np.array([[0.0, 0.0, 1.0]])  # a place in the vehicle's own body


@dataclass
class SpaceFindings:
    """What is wrong or odd about labels of voxels.

    Attributes:
        counts: voxels of each class that a camera sees, by name.
        frames: how many there are.
        unreadable: labels that cannot be read, with the reason.
        empty: frames of which everything is free or unknown.
        unseen: frames of which no camera sees anything.
        inside: frames where the place of the vehicle itself is filled by more than ground, as it is where x and y are
            exchanged or the labels are in another frame.
    """

    counts: dict[str, int]
    frames: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)

    @property
    def errors(self) -> bool:
        return bool(self.unreadable or self.empty)

    def lines(self, name: str) -> list[str]:
        """The findings as text, for a part of this name."""
        found = [f"{name}: {self.frames} frames with labels of voxels"]
        found += count_lines(self.counts) if self.counts else []
        found += [f"unreadable: {reason}" for reason in self.unreadable.values()]
        for what, tokens in (
            ("everything is free or unknown", self.empty),
            ("no camera sees anything", self.unseen),
            ("the vehicle's own place is filled; are the labels in its frame?", self.inside),
        ):
            if tokens:
                found.append(f"{what}: {len(tokens)} frames, such as {tokens[0]}")
        return found


def check_space(data: SpaceFrames, progress: Callable[[Iterable[Frame]], Iterable[Frame]]) -> SpaceFindings:
    """Read the labels of every frame."""
    counts, found = np.zeros(UNKNOWN + 1, np.int64), SpaceFindings({}, len(data))
    x, y, z = VoxelGrid().voxel_of(_STANDING)[0]
    for frame in progress(data.frames):
        try:
            space = data.space_of(frame)
        except DataError as error:
            found.unreadable[frame.token] = str(error)
            continue
        counts += np.bincount(space.labels[space.camera], minlength=len(counts))
        if (space.labels >= len(CLASSES) - 1).all():
            found.empty.append(frame.token)
        if not space.camera.any():
            found.unseen.append(frame.token)
        if space.labels[x, y, z] < len(CLASSES) - 1:
            found.inside.append(frame.token)
    found.counts = {name: int(counts[label]) for label, name in enumerate(CLASSES) if counts[label]}
    return found


def space_sheet(data: SpaceFrames) -> Image.Image:
    """Frames from the whole part, with what is labelled."""
    places = np.unique(np.linspace(0, len(data) - 1, _SHOWN).round().astype(int)).tolist()
    pictures: list[tuple[Image.Image, list[tuple[str, Colour]]]] = []
    for frame in (data.frames[place] for place in places):
        picture = draw_space_frame(frame, data.space_of(frame).labels, VoxelGrid(), width=_WIDTH)
        pictures.append((picture, [(f"{frame.scene} {frame.token}", INK)]))
    return contact_sheet(pictures, title=f"{data.name}: {data.summary()}", columns=1, cell=_WIDTH)
