"""Masks of other segmenters, from a folder, measured as our own are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from internimage.data.formats.masks import read_classes
from internimage.data.masks import SegmentedImages
from internimage.data.pairing import pair
from internimage.errors import DataError
from internimage.images.masks import UNKNOWN, read_mask
from internimage.metrics.classes import class_numbers
from internimage.metrics.mean_iou import MeanIoU
from internimage.settings.views import ReportOptions, refuse_score_threshold
from internimage.tasks.segmentation.evaluation import SegmentationReport
from internimage.tasks.segmentation.worst import WorstPictures

_NAMING = ("classes.json", "classes.txt")
_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")
_OURS = ".classes"  # what `predict --save` puts before .png


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
