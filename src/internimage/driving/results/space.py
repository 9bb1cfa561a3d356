"""What a network says fills the space around a vehicle at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.driving.data.frames import Frame
from internimage.driving.data.occ3d import VoxelGrid, Voxels, submission_bytes
from internimage.driving.geometry.boxes import Numbers
from internimage.images import ImageSource
from internimage.results.output import Output, Picture
from internimage.writing import counted, written_aside

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, eq=False)
class FoundSpace:
    """Classes of the voxels around the vehicle.

    Attributes:
        labels: (X, Y, Z) uint8, numbers of classes; the last is free space.
        chances: (X, Y, Z) float16, how likely the model takes them to be.
        grid: where the voxels are, in the vehicle's frame (x ahead, y left, z up).
        names: of all classes.
        frame: the moment; its cameras' pictures are read again when it is drawn, so that results stay small.
        source: the picture that stands for it.
    """

    labels: Voxels
    chances: np.ndarray[Any, np.dtype[np.float16]]
    grid: VoxelGrid
    names: tuple[str, ...]
    frame: Frame
    source: ImageSource

    @cached_property
    def counts(self) -> Numbers:
        """(classes,) voxels of each."""
        return np.bincount(self.labels.ravel(), minlength=len(self.names)).astype(np.int64)

    def filled(self) -> list[int]:
        """Numbers of the classes that there are, without free space, those with most voxels first."""
        return [int(one) for one in np.argsort(-self.counts[:-1], kind="stable") if self.counts[one]]

    def chance(self, label: int) -> float:
        """Mean of the chances of a class's voxels; NaN without any."""
        own = self.chances[self.labels == label]
        return float(own.astype(np.float64).mean()) if own.size else float("nan")

    def draw(self) -> Image.Image:
        """The cameras, the space from behind and from above."""
        from internimage.driving.drawing.space_sheet import draw_space_frame

        return draw_space_frame(self.frame, self.labels, self.grid)

    def draw_layers(self) -> Image.Image:
        """Layer by layer, the lowest first."""
        from internimage.driving.drawing.space_sheet import draw_layers

        return draw_layers(self.labels, self.grid)

    def text(self) -> str:
        """The classes for people, a line each: voxels, cubic metres, mean chance."""
        filled, side = self.filled(), self.grid.side
        lines = [f"{self.frame.scene} {self.frame.token}: {counted(int(self.counts[:-1].sum()), 'voxel')} filled"]
        width = max((len(self.names[label]) for label in filled), default=0)
        for label in filled:
            count = int(self.counts[label])
            volume = f"{count:7d} voxels {count * side**3:8.1f} m3"
            lines.append(f"  {self.chance(label):6.1%}  {self.names[label]:<{width}}  {volume}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the grid, and of each class its voxels as runs of [first, length].

        A voxel's number is (x Y + y) Z + z; start and side of the grid are metres of the vehicle's frame, the start is
        the corner of the first voxel.  Free space is what no class has.
        """
        flat = self.labels.ravel()
        edges = np.flatnonzero(np.diff(flat)) + 1
        firsts = np.concatenate([[0], edges])
        lengths = np.diff(np.concatenate([firsts, [len(flat)]]))
        classes = [
            {
                "label": self.names[label],
                "index": label,
                "score": self.chance(label),
                "voxels": int(self.counts[label]),
                "runs": np.stack([firsts, lengths], 1)[flat[firsts] == label].tolist(),
            }
            for label in self.filled()
        ]
        grid = {"shape": list(self.grid.shape), "start": list(self.grid.start), "side": self.grid.side}
        moment = {"token": self.frame.token, "scene": self.frame.scene, "time": self.frame.time}
        return {**moment, "grid": grid, "classes": classes}

    def __repr__(self) -> str:
        most = ", ".join(self.names[label] for label in self.filled()[:3])
        return f"FoundSpace({self.frame.token}: {int(self.counts[:-1].sum())} voxels filled{f', {most}' * bool(most)})"


class Occ3DWriter:
    """Writes ``SAMPLE.npz`` for each frame, as the challenge takes them: one array (200, 200, 16) of uint8."""

    notes: tuple[str, ...] = ()

    def __init__(self, output: Output) -> None:
        self._output = output

    def add(self, picture: Picture, result: FoundSpace) -> None:
        """Write the result of one frame."""
        with written_aside(self._output.place(f"{result.frame.token}.npz")) as aside:
            aside.write_bytes(submission_bytes(result.labels))

    def close(self) -> list[Path]:
        """End; the folder of the files."""
        return [self._output.folder]
