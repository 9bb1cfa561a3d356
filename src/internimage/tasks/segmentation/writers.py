"""Classes of pixels in the formats of other tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from internimage.contracts import Writer
from internimage.results.coco_writer import CocoWriter
from internimage.results.file_writers import LabelmeWriter
from internimage.results.output import Output, Picture, Shape
from internimage.results.segmentation import Segmentation


def shapes(result: Segmentation, least: float) -> Iterator[Shape]:
    """All pixels of each class there is, whatever its confidence."""
    for one in result.regions():
        mask = result.label_map == one.index
        (y1, y2), (x1, x2) = (np.flatnonzero(mask.any(axis))[[0, -1]].tolist() for axis in (1, 0))
        yield Shape(one.index, (x1, y1, x2 + 1.0, y2 + 1.0), one.confidence, mask)


class MaskWriter:
    """``masks/NAME.png``, whose pixels are numbers of classes, and ``classes.txt`` with their names, the first of 0."""

    notes: tuple[str, ...] = ()

    def __init__(self, output: Output) -> None:
        self.output = output

    def add(self, picture: Picture, result: Segmentation) -> None:
        result.to_png().save(self.output.place(f"masks/{picture.stem}.png"))

    def close(self) -> list[Path]:
        text = "".join(f"{name}\n" for name in self.output.classes)
        self.output.place("classes.txt").write_text(text, encoding="utf-8")
        return [self.output.folder / "masks", self.output.folder / "classes.txt"]


WRITERS: Mapping[str, Callable[[Output], Writer]] = {
    "masks": MaskWriter,
    "coco": lambda output: CocoWriter(output, shapes),
    "labelme": lambda output: LabelmeWriter(output, shapes),
}
