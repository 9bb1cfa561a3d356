"""Objects in the formats of other tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from internimage.contracts import Writer
from internimage.results.coco_writer import CocoWriter
from internimage.results.detections import Detections
from internimage.results.file_writers import CropsWriter, LabelmeWriter, VocWriter, YoloWriter
from internimage.results.output import Output, Shape


def shapes(result: Detections, least: float) -> Iterator[Shape]:
    """The objects with at least this score; masks are made one at a time."""
    shown = result.filter(least)
    for i in range(len(shown)):
        x1, y1, x2, y2 = shown.boxes[i].tolist()
        yield Shape(int(shown.labels[i]), (x1, y1, x2, y2), float(shown.scores[i]), shown.mask(i))


WRITERS: Mapping[str, Callable[[Output], Writer]] = {
    "coco": lambda output: CocoWriter(output, shapes),
    "yolo": lambda output: YoloWriter(output, shapes),
    "voc": lambda output: VocWriter(output, shapes),
    "labelme": lambda output: LabelmeWriter(output, shapes),
    "crops": lambda output: CropsWriter(output, shapes),
}
