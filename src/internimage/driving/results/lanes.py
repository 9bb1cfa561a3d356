"""What a network says of the lanes around a vehicle, and of the signs and lights that govern them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from internimage.driving.data.frames import Frame
from internimage.driving.data.openlane import Annotation, annotation_of
from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.images import ImageSource
from internimage.results.output import Output, Picture
from internimage.writing import counted, written_aside

if TYPE_CHECKING:
    from PIL import Image

_SURE = 0.5  # of a pair that is said to belong together
_SHOWN = 0.3


class Predictions(msgspec.Struct):
    """A frame of OpenLane-V2's results."""

    predictions: Annotation


@dataclass(frozen=True, eq=False)
class FoundLanes:
    """Lanes, traffic elements and their pairs at one moment, the surest first.

    Attributes:
        graph: lanes in the vehicle's frame, elements in pixels of the front camera's picture.
        front: that camera.
        names: of what traffic elements may say.
        frame: the moment; its pictures are read again when it is drawn, so that results stay small.
        source: the picture that stands for it.
    """

    graph: LaneGraph
    front: str
    names: tuple[str, ...]
    frame: Frame
    source: ImageSource

    def __len__(self) -> int:
        return len(self.graph.lanes)

    def filter(self, score_threshold: float = 0.0) -> FoundLanes:
        """Lanes and elements with at least this score, and the pairs of these."""
        graph = self.graph
        lanes, elements = (np.flatnonzero(one >= score_threshold) for one in (graph.scores, graph.element_scores))
        return replace(self, graph=graph.order(lanes, elements))

    def draw(self, score_threshold: float = _SHOWN) -> Image.Image:
        """The front camera with what governs, and the lanes from above."""
        from internimage.driving.drawing.lane_sheet import draw_lane_frame

        return draw_lane_frame(self.frame, self.filter(score_threshold).graph, self.names, self.front)

    def text(self, score_threshold: float = _SHOWN) -> str:
        """For people, a line each: lanes from where to where, what goes on, what governs; then what governs."""
        graph = self.filter(score_threshold).graph
        lines = [
            f"{self.frame.scene} {self.frame.token}: {counted(len(graph.lanes), 'lane')}, "
            f"{counted(len(graph.elements), 'traffic element')}"
        ]
        for number, (lane, score) in enumerate(zip(graph.lanes, graph.scores, strict=True)):
            ends = " to ".join(f"{x:6.1f} {y:6.1f}" for x, y in lane[[0, -1], :2].tolist())
            text = f"  {score:6.1%}  lane {number:<3} {ends} m (ahead, left)"
            if after := np.flatnonzero(graph.lane_lane[number] > _SURE).tolist():
                text += f"  goes on in {', '.join(map(str, after))}"
            if over := np.flatnonzero(graph.lane_element[number] > _SURE).tolist():
                text += f"  governed by {', '.join(self.names[graph.attributes[one]] for one in over)}"
            lines.append(text)
        for box, attribute, score in zip(graph.elements.tolist(), graph.attributes, graph.element_scores, strict=True):
            lines.append(f"  {score:6.1%}  {self.names[attribute]:<12} {' '.join(f'{one:7.1f}' for one in box)} px")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: OpenLane-V2's annotation; lanes in metres of the vehicle's frame, boxes in pixels."""
        moment = {"token": self.frame.token, "scene": self.frame.scene, "time": self.frame.time}
        content: dict[str, Any] = msgspec.to_builtins(annotation_of(self.graph))
        for element in content["traffic_element"]:
            element["label"] = self.names[element["attribute"]]
        return {**moment, **content}

    def __repr__(self) -> str:
        return f"FoundLanes({self.frame.token}: {len(self.graph.lanes)} lanes, {len(self.graph.elements)} elements)"


class OpenLaneWriter:
    """Writes ``SEGMENT/TIMESTAMP.json`` for each frame: {"predictions": {...}} as OpenLane-V2's results have it.

    All lanes and elements are written, whatever their scores: rows and columns of the matrices are in their order.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, output: Output) -> None:
        self._output = output

    def add(self, picture: Picture, result: FoundLanes) -> None:
        """Write the result of one frame."""
        content = msgspec.json.encode(Predictions(annotation_of(result.graph)))
        with written_aside(self._output.place(f"{result.frame.token}.json")) as aside:
            aside.write_bytes(content)

    def close(self) -> list[Path]:
        """End; the folder of the files."""
        return [self._output.folder]
