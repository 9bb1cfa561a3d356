"""Results of other detectors, from a COCO result file, measured as our own are."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from internimage.data.formats.coco_results import read_results
from internimage.data.objects import ObjectImages
from internimage.metrics.average_precision import AveragePrecision
from internimage.settings.views import ReportOptions
from internimage.tasks.detection.evaluation import DetectionReport


def measure_results(data: ObjectImages, file: Path, options: ReportOptions) -> DetectionReport:
    """The report on a result file; every annotated image counts, also one that has no results.

    Masks are measured where the data has masks and every result has one.

    Raises:
        DataError: see :func:`internimage.data.formats.coco_results.read_results`.
    """
    found, unknown = read_results(file, data)
    entries = [entry for one in found.values() for entry in one]
    masks = bool(entries) and data.has_masks and all(entry.segmentation is not None for entry in entries)
    if unknown:
        few = ", ".join(map(str, list(unknown)[:5]))
        warnings.warn(
            f"{file}: {sum(unknown.values())} results are left out, whose categories the annotations lack ({few})",
            stacklevel=2,
        )
    metric = AveragePrecision(data, masks)
    for identity, own in found.items():
        metric.add_entries(own, identity)
    return DetectionReport(metric, np.arange(len(data.classes)), score_threshold=options.score_threshold)
