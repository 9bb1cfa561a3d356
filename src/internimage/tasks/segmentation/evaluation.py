"""A segmenter measured on images with known classes of pixels."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.data.formats.masks import read_classes
from internimage.data.masks import SegmentedImages
from internimage.data.samples import ImageFile
from internimage.drawing.canvas import Colour
from internimage.drawing.charts import confusion_matrix
from internimage.errors import DataError
from internimage.images.masks import UNKNOWN, read_mask
from internimage.metrics.classes import class_numbers, percent
from internimage.metrics.mean_iou import MeanIoU
from internimage.metrics.worst_pictures import WorstPictures
from internimage.results.pairing import pair
from internimage.results.segmentation import Segmentation
from internimage.settings.views import ReportOptions, refuse_score_threshold
from internimage.writing import json_text, save_picture, write_text

if TYPE_CHECKING:
    from internimage.contracts import Pipeline
    from internimage.data.samples import EvaluationSample


_NAMING = ("classes.json", "classes.txt")
_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")
_OURS = ".classes"  # what `predict --save` puts before .png


@dataclass
class SegmentationReport:
    """Intersection over union of a segmenter, and the pictures that it does worst.

    Attributes:
        metric: the counts of all pixels.
        numbers: the data's number of each of the model's classes; one that it has not counts as wrong.
        worst: the pictures with the lowest IoU.
        palette: a colour of each of the data's classes; None for colours that are made up.
        unreadable: files left out.
        left_out: what else of the data was not measured, a line for each reason.
    """

    metric: MeanIoU
    numbers: np.ndarray[Any, Any]
    worst: WorstPictures
    palette: tuple[Colour, ...] | None = None
    unreadable: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @classmethod
    def on(cls, pipeline: Pipeline, data: SegmentedImages) -> SegmentationReport:
        """An empty report; classes go together by name, or by number where the model has no names and as many.

        Raises:
            DataError: the data has a class that the model does not know.
        """
        numbers = class_numbers(pipeline.labels, pipeline.classes, data.classes, len(data.classes))
        return cls(MeanIoU(data.classes), numbers, WorstPictures(len(data.classes)), data.palette)

    def add(self, result: Segmentation, sample: EvaluationSample) -> None:
        """Count the pixels of one image; the truth is its map of the data's class numbers."""
        self.add_map(sample.entry.file, self.numbers[result.label_map], sample.measured.truth)

    def add_map(self, file: ImageFile, label_map: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> None:
        """Count the pixels of one image, given the data's class numbers (H, W) as predicted and as they are."""
        self.metric.add(label_map, truth)
        self.worst.add(file, label_map, truth)

    def state(self) -> Any:
        return self.metric.state(), self.worst.state()

    def merge(self, states: Sequence[Any]) -> None:
        self.metric.merge([metric for metric, _ in states])
        self.worst.merge([worst for _, worst in states])

    def compute(self) -> dict[str, float]:
        """See :meth:`internimage.metrics.mean_iou.MeanIoU.compute`."""
        return self.metric.compute()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; null where there is nothing to divide by."""
        rows = {name: _finite(row) for name, row in self.metric.per_class().items()}
        numbers = _finite(self.metric.compute())
        return {
            **numbers,
            "per_class": rows,
            "worst": self.worst.listed(),
            "unreadable": self.unreadable,
            "left_out": self.left_out,
        }

    def table(self) -> str:
        """The numbers as text."""
        numbers, rows = self.metric.compute(), self.metric.per_class()
        width = max(5, *(len(name) for name in rows))
        lines = [f"{'class':<{width}}  of pixels     IoU  accuracy"]
        for name, row in rows.items():
            iou, accuracy = (percent(row[key]) for key in ("iou", "accuracy"))
            lines.append(f"{name:<{width}}  {row['share']:>9.1%}  {iou:>6}  {accuracy:>8}")
        lines.append(
            f"mIoU {numbers['miou']:.1%}  mAcc {numbers['macc']:.1%}  aAcc {numbers['aacc']:.1%}  "
            f"images {int(numbers['images'])}"
        )
        lines += [f"left out: {name}" for name in self.unreadable] + self.left_out
        return "\n".join(lines)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write metrics.json, confusion.png and worst.png; return their paths."""
        folder = Path(folder).expanduser()
        numbers = self.metric.compute()
        metrics, confusion = folder / "metrics.json", folder / "confusion.png"
        write_text(metrics, json_text(self.to_dict(), indent=2) + "\n")
        shares = self.metric.counts[:-1, :-1] * 1000 // np.maximum(1, self.metric.counts[:-1].sum(1, keepdims=True))
        title = f"mIoU {numbers['miou']:.1%} of {int(numbers['images'])} images; thousandths of a class's pixels"
        save_picture(confusion_matrix(shares, self.metric.classes, title), confusion)
        sheet, worst = self.worst.sheet(self.metric.classes, self.palette), folder / "worst.png"
        if sheet is None:
            return [metrics, confusion]
        save_picture(sheet, worst)
        return [metrics, confusion, worst]


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in numbers.items()}


def measure_masks(data: SegmentedImages, folder: Path, options: ReportOptions) -> SegmentationReport:
    """The report on a folder of masks, one for each picture of the data, of the picture's name.

    With a ``classes.txt`` or ``classes.json`` in the folder their numbers mean its classes, which go together with the
    data's by name; without, they mean what they mean in the data's own masks.

    Raises:
        DataError: a picture has no mask, several, or one of another size; the classes differ.
        ImageReadError: a mask cannot be read, or has numbers that stand for no class.
    """
    refuse_score_threshold(options)
    naming = next((folder / name for name in _NAMING if (folder / name).is_file()), None)
    coding, numbers = data.coding, np.arange(len(data.classes))
    if naming is not None:
        own = read_classes(naming)
        coding, numbers = own.coding, class_numbers(own.names, len(own.names), data.classes, len(data.classes))
    numbers = np.append(numbers, len(data.classes))  # the last one, which -1 finds, is of no class of the data
    report = SegmentationReport(MeanIoU(data.classes), numbers, WorstPictures(len(data.classes)), data.palette)
    files = _masks_of(data, folder)
    for entry in data.entries:
        truth, mask = data.truth(entry), Path(files[str(entry.file)])
        found = coding.decode(read_mask(mask), str(mask))
        if found.shape != truth.shape:
            sizes = (f"{width}x{height}" for height, width in (found.shape, truth.shape))
            raise DataError("{} is {}, the truth {}; expected one size".format(mask, *sizes))
        report.add_map(entry.file, numbers[found], np.where(truth < 0, UNKNOWN, truth))
    return report


def _masks_of(data: SegmentedImages, folder: Path) -> dict[str, str]:
    """The mask of each picture, by its path."""
    pictures = [str(entry.file) for entry in data.entries]
    masks = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.name[0] != ".")
    found = pair(pictures, masks, str(folder), lambda path: path.stem.removesuffix(_OURS))
    if missing := [picture for picture in pictures if picture not in found]:
        raise DataError(
            f"{folder} has no mask for {len(missing)} of {len(pictures)} pictures, such as {missing[0]}; expected "
            f"{Path(missing[0]).stem}.png"
        )
    return found
