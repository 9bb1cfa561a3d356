"""Looking over maps before hours are spent on them.  Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from internimage.data.checking import count_lines
from internimage.drawing.canvas import INK, Colour
from internimage.drawing.charts import contact_sheet
from internimage.driving.data.frames import Frame
from internimage.driving.drawing.map_sheet import draw_map_frame
from internimage.driving.online_map.reading import MapFrames
from internimage.errors import DataError

_SHOWN, _CELL = 4, 1500


@dataclass
class MapFindings:
    """What is wrong or odd about maps.

    Attributes:
        counts: lines of each class, by name.
        frames: how many there are.
        unreadable: places whose map cannot be read, with the reason.
        empty: frames without any line around the vehicle, as where the map is of another place.
    """

    counts: dict[str, int]
    frames: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)

    @property
    def errors(self) -> bool:
        return bool(self.unreadable) or (self.frames > 0 and len(self.empty) == self.frames)

    def lines(self, name: str) -> list[str]:
        """The findings as text, for a part of this name."""
        found = [f"{name}: {self.frames} frames", *(count_lines(self.counts) if self.counts else ())]
        found += [f"unreadable: {reason}" for reason in self.unreadable.values()]
        if self.empty:
            said = f"no line around the vehicle; is the map of another place?: {len(self.empty)} frames"
            found.append(f"{said}, such as {self.empty[0]}")
        return found


def check_maps(data: MapFrames, progress: Callable[[Iterable[Frame]], Iterable[Frame]]) -> MapFindings:
    """Cut the lines around every frame."""
    counts: Counter[str] = Counter()
    found = MapFindings({}, len(data))
    for frame in progress(data.frames):
        place = data.locations[frame.scene]
        if place in found.unreadable:
            continue
        try:
            around = data.map_of(frame)
        except DataError as error:
            found.unreadable[place] = str(error)
            continue
        counts.update(data.classes[label] for label in around.labels.tolist())
        if not around.lines:
            found.empty.append(frame.token)
    found.counts = dict(counts)
    return found


def map_sheet(data: MapFrames) -> Image.Image:
    """Frames from the whole part, with the lines around them."""
    places = np.unique(np.linspace(0, len(data) - 1, _SHOWN).round().astype(int)).tolist()
    pictures: list[tuple[Image.Image, list[tuple[str, Colour]]]] = []
    for frame in (data.frames[place] for place in places):
        picture = draw_map_frame(frame, data.map_of(frame), data.classes)
        pictures.append((picture, [(f"{frame.scene} {frame.token}", INK)]))
    return contact_sheet(pictures, title=f"{data.name}: {data.summary()}", columns=1, cell=_CELL)
