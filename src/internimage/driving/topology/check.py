"""Looking over lanes and traffic elements before hours are spent on them.  Reads only."""

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
from internimage.driving.drawing.lane_sheet import draw_lane_frame
from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.driving.topology.reading import LaneFrames
from internimage.errors import DataError

_SHOWN, _CELL = 4, 1200
_APART = 5.0  # metres between the end of a lane and the beginning of one that goes on from it


@dataclass
class LaneFindings:
    """What is wrong or odd about lanes and traffic elements.

    Attributes:
        counts: lanes, and traffic elements by what they say.
        frames: how many there are.
        unreadable: records that cannot be read, with the reason.
        unannotated: frames of which nobody says what is true.
        empty: frames without a lane.
        apart: frames where a lane goes on in one that begins more than 5 m away, as where rows and columns of the
            matrix are in another order than the lanes.
        flat: frames with traffic elements of no area, or outside the front camera's picture.
    """

    counts: dict[str, int]
    frames: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    unannotated: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)

    @property
    def errors(self) -> bool:
        return bool(self.unreadable or self.apart)

    def lines(self, name: str) -> list[str]:
        """The findings as text, for a part of this name."""
        found = [f"{name}: {self.frames} frames", *(count_lines(self.counts) if self.counts else ())]
        found += [f"unreadable: {reason}" for reason in self.unreadable.values()]
        for what, tokens in (
            ("nobody says what is true", self.unannotated),
            ("no lane", self.empty),
            (
                "a lane goes on in one that begins elsewhere; are rows and columns in the lanes' order?",
                self.apart,
            ),
            ("traffic elements of no area or outside the picture", self.flat),
        ):
            if tokens:
                found.append(f"{what}: {len(tokens)} frames, such as {tokens[0]}")
        return found


def check_lanes(data: LaneFrames, progress: Callable[[Iterable[int]], Iterable[int]]) -> LaneFindings:
    """Read every record."""
    counts: Counter[str] = Counter()
    found = LaneFindings({}, len(data))
    for place in progress(range(len(data))):
        try:
            frame = data.frames[place]
            graph = data.annotated(frame)
        except DataError as error:
            found.unreadable[str(data.records[place])] = str(error)
            continue
        if graph is None:
            found.unannotated.append(frame.token)
            continue
        counts["lanes"] += len(graph.lanes)
        counts.update(data.classes[attribute] for attribute in graph.attributes)
        _look_over(found, frame, graph)
    found.counts = dict(counts)
    return found


def _look_over(found: LaneFindings, frame: Frame, graph: LaneGraph) -> None:
    if not graph.lanes:
        found.empty.append(frame.token)
    for row, column in np.argwhere(graph.lane_lane).tolist():
        if np.linalg.norm(graph.lanes[row][-1] - graph.lanes[column][0]) > _APART:
            found.apart.append(frame.token)
            break
    height, width = frame.cameras[0].size
    low, high = graph.elements[:, :2], graph.elements[:, 2:]
    if len(graph.elements) and ((high <= low).any() or (low < 0).any() or (high > (width, height)).any()):
        found.flat.append(frame.token)


def lane_sheet(data: LaneFrames) -> Image.Image:
    """Frames from the whole part, with what is true of them."""
    places = np.unique(np.linspace(0, len(data) - 1, _SHOWN).round().astype(int)).tolist()
    pictures: list[tuple[Image.Image, list[tuple[str, Colour]]]] = []
    for frame in (data.frames[place] for place in places):
        graph = data.annotated(frame) or LaneGraph()
        picture = draw_lane_frame(frame, graph, data.classes, frame.cameras[0].channel)
        pictures.append((picture, [(frame.token, INK)]))
    return contact_sheet(pictures, title=f"{data.name}: {data.summary()}", columns=1, cell=_CELL)
