"""What a network says of the lines on the ground around a vehicle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.driving.data.frames import Frame
from internimage.driving.geometry.vector_map import VectorMap
from internimage.driving.results.geojson import geojson_of, write_geojson
from internimage.images import ImageSource
from internimage.results.output import Output, Picture
from internimage.writing import counted

if TYPE_CHECKING:
    from PIL import Image

    from internimage.driving.geometry.poses import Array

_SHOWN = 0.3


@dataclass(frozen=True, eq=False)
class FoundMap:
    """Lines around the vehicle at one moment, the surest first.

    Attributes:
        found: in the vehicle's frame.
        names: of all classes.
        frame: the moment; its pictures are read again when it is drawn, so that results stay small.
        source: the picture that stands for it.
    """

    found: VectorMap
    names: tuple[str, ...]
    frame: Frame
    source: ImageSource

    def __len__(self) -> int:
        return len(self.found.lines)

    def filter(self, score_threshold: float = 0.0) -> FoundMap:
        """Lines with at least this score."""
        keep = np.flatnonzero(self.found.scores >= score_threshold).tolist()
        lines = [self.found.lines[number] for number in keep]
        return replace(self, found=VectorMap(lines, self.found.labels[keep], self.found.scores[keep]))

    def draw(self, score_threshold: float = _SHOWN) -> Image.Image:
        """The cameras and the map from above."""
        from internimage.driving.drawing.map_sheet import draw_map_frame

        return draw_map_frame(self.frame, self.filter(score_threshold).found, self.names)

    def text(self, score_threshold: float = _SHOWN) -> str:
        """The lines with at least this score for people: score, class, length, from where to where."""
        found = self.filter(score_threshold).found
        width = max((len(self.names[label]) for label in found.labels), default=0)
        lines = [f"{self.frame.scene} {self.frame.token}: {counted(len(found.lines), 'line')}"]
        for line, label, score in zip(found.lines, found.labels.tolist(), found.scores.tolist(), strict=True):
            ends = " to ".join(f"{x:6.1f} {y:6.1f}" for x, y in line[[0, -1]].tolist())
            lines.append(f"  {score:6.1%}  {self.names[label]:<{width}}  {length(line):5.1f} m  {ends} (ahead, left)")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: GeoJSON in the vehicle's metres, with the moment."""
        moment = {"token": self.frame.token, "scene": self.frame.scene, "time": self.frame.time}
        return {**moment, **geojson_of(self.found, self.names)}

    def __repr__(self) -> str:
        return f"FoundMap({self.frame.token}: {counted(len(self), 'line')})"


def length(line: Array) -> float:
    """Of a line in metres."""
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


class GeoJSONWriter:
    """Writes ``SAMPLE.geojson`` for each frame, in the world's metres (:mod:`internimage.driving.results.geojson`)."""

    notes: tuple[str, ...] = ()

    def __init__(self, output: Output) -> None:
        self._output = output

    def add(self, picture: Picture, result: FoundMap) -> None:
        """Write the result of one frame."""
        place = self._output.place(f"{result.frame.token}.geojson")
        write_geojson(place, result.filter(self._output.least).found, result.names, result.frame.ego)

    def close(self) -> list[Path]:
        """End; the folder of the files."""
        return [self._output.folder]
