"""Files of results as nuScenes' benchmark takes them, written frame by frame.

Format: https://www.nuscenes.org/object-detection.  {"meta": {...}, "results": {sample_token: [box, ...]}}, boxes in the
global frame, see :class:`Entry`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile

import msgspec
import numpy as np

from internimage.driving.data.nuscenes_classes import MOST_BOXES, class_ranges
from internimage.driving.geometry.boxes import GlobalBoxes
from internimage.driving.metrics.filtering import checked
from internimage.driving.results.boxes3d import FoundBoxes
from internimage.errors import DataError
from internimage.results.output import Output, Picture
from internimage.writing import counted, written_aside

FILE_NAME = "results_nusc.json"


@dataclass(frozen=True)
class Meta:
    """What a result comes from, as the benchmark asks; ``use_external``: other data than nuScenes'."""

    use_camera: bool = True
    use_lidar: bool = False
    use_radar: bool = False
    use_map: bool = False
    use_external: bool = False


class Entry(msgspec.Struct, gc=False):
    """A box as the file has it; size: width, length, height."""

    sample_token: str
    translation: tuple[float, float, float]
    size: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    velocity: tuple[float, float]
    detection_name: str
    detection_score: float
    attribute_name: str


class SubmissionWriter:
    """Writes a file of results while they come; it is there when it is whole.

    Args:
        path: of the file.
        classes: names, of which labels are places.
        meta: see there.

    Attributes:
        cut: samples that had more boxes than the benchmark takes, of which the best are written.
    """

    def __init__(self, path: Path, classes: Sequence[str], meta: Meta = Meta()) -> None:
        self.path = path
        self.classes = tuple(classes)
        self.cut = 0
        self._tokens: set[str] = set()
        self._aside = TemporaryFile()  # noqa: SIM115
        self._aside.write(b'{"meta": ' + msgspec.json.encode(asdict(meta)) + b', "results": {')

    def add(self, result: FoundBoxes) -> None:
        """Write the boxes of one frame that are not further from the vehicle than their class is looked for.

        Raises:
            DataError: see :meth:`add_boxes`.
        """
        away = np.linalg.norm(result.in_ego[:, :2], axis=1)
        near = result.part(away <= class_ranges(result.names)[result.boxes.labels])
        self.add_boxes(result.frame.token, near.in_global())

    def add_boxes(self, token: str, boxes: GlobalBoxes) -> None:
        """Write all boxes of one frame, the best 500 if there are more.

        Raises:
            DataError: the frame was written before, or a number is not finite.
        """
        if token in self._tokens:
            raise DataError(f"{self.path}: the results of {token} come twice; expected each frame once")
        checked(boxes, len(self.classes), f"results of {token}, box")
        if not np.isfinite(boxes.velocities).all():
            raise DataError(f"results of {token}: a velocity is not finite; expected metres a second")
        if len(boxes) > MOST_BOXES:
            boxes = boxes.chosen(np.sort(np.argsort(-boxes.scores, kind="stable")[:MOST_BOXES]))
            self.cut += 1
        columns = (boxes.centres, boxes.sizes, boxes.rotations, boxes.velocities, boxes.labels, boxes.scores)
        rows = zip(*(column.tolist() for column in columns), boxes.attributes, strict=True)
        entries = [
            Entry(token, centre, size, rotation, velocity, self.classes[label], score, attribute)
            for centre, size, rotation, velocity, label, score, attribute in rows
        ]
        mark = b",\n" if self._tokens else b"\n"
        self._aside.write(mark + msgspec.json.encode(token) + b": " + msgspec.json.encode(entries))
        self._tokens.add(token)

    def close(self) -> list[Path]:
        """End the file; its path."""
        self._aside.write(b"\n}}\n")
        self._aside.seek(0)
        with written_aside(self.path) as aside, aside.open("wb") as file:
            shutil.copyfileobj(self._aside, file)
        self._aside.close()
        return [self.path]


class NuScenesWriter:
    """Writes ``results_nusc.json`` into the folder of an output; see :class:`SubmissionWriter`."""

    def __init__(self, output: Output) -> None:
        self._writer = SubmissionWriter(output.place(FILE_NAME), output.classes)
        self._least = output.least

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about what is written."""
        cut = self._writer.cut
        said = f"{counted(cut, 'frame')} had more than {MOST_BOXES} boxes, of which the best are written"
        return (said,) if cut else ()

    def add(self, picture: Picture, result: FoundBoxes) -> None:
        """Write the result of one frame."""
        self._writer.add(result.filter(self._least))

    def close(self) -> list[Path]:
        """End; the path of the file."""
        return self._writer.close()
