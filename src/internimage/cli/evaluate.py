"""internimage evaluate"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, arg

from internimage.cli.common import ModelOptions, augmentation, progress

if TYPE_CHECKING:
    from internimage.inference.evaluation import ClassificationReport
    from internimage.inference.object_evaluation import DetectionReport
    from internimage.inference.region_evaluation import SegmentationReport


@dataclass(frozen=True)
class Evaluate:
    """Measure a model on labelled images.

    $ internimage evaluate --data photos/ --model runs/photos/best --part test

    $ internimage evaluate --data cells/ --model runs/cells/best --part val --save report/

    Of classifiers: accuracies, a table of classes, confusion matrix, worst predictions. Of detectors: COCO's average
    precision of boxes and masks, a table of classes, precision-recall curves. Of segmenters: mean intersection over
    union, a table of classes, confusion matrix.
    """

    data: Annotated[Path, arg(metavar="FOLDER")]
    """Images: one folder a class, or train, val, test as folders, .csv, .zip, .tar shards, or iNaturalist's .json; for
    detectors, COCO's annotations; for segmenters, a folder of masks beside the folder of images."""
    part: Literal["all", "train", "val", "test"] = "all"
    """Which part; all takes FOLDER itself as one folder a class, or the only part there is."""
    tta: FlagCreatePairsOff[bool] = False
    """Detectors and segmenters: look at each picture mirrored too, and at --tta-sides."""
    tta_sides: Annotated[tuple[int, ...], arg(metavar="PIXELS...", help_behavior_hint="(default: the model's)")] = ()
    """Shorter sides of the picture that --tta looks at, such as 600 800 1000."""
    model: ModelOptions = field(default_factory=ModelOptions)
    on_corrupt: Literal["error", "skip"] = "error"
    """What to do about files that cannot be read; skipped ones are counted."""
    save: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Folder for metrics.json and pictures: confusion.png (of classifiers also worst.png), or
    precision_recall.png."""
    json: FlagCreatePairsOff[bool] = False
    """Print the numbers as one JSON object."""

    def run(self) -> int:
        from internimage.data.coco import is_object_data
        from internimage.inference.evaluation import (
            evaluate_classifier,
            read_object_part,
            read_part,
            read_region_part,
        )
        from internimage.inference.object_evaluation import evaluate_detector
        from internimage.inference.region_evaluation import evaluate_segmenter
        from internimage.inference.views import Segmenter

        skip = self.on_corrupt == "skip"
        predictor = self.model.predictor(augmentation(self.tta, self.tta_sides))
        report: ClassificationReport | DetectionReport | SegmentationReport
        if isinstance(predictor.model, Segmenter):
            regions = read_region_part(self.data, self.part)
            follow = partial(progress, total=len(regions), what="evaluating")
            report = evaluate_segmenter(predictor, regions, skip_unreadable=skip, progress=follow)
        elif is_object_data(self.data):
            objects = read_object_part(self.data, self.part)
            follow = partial(progress, total=len(objects), what="evaluating")
            report = evaluate_detector(predictor, objects, skip_unreadable=skip, progress=follow)
        else:
            images = read_part(self.data, self.part)
            follow = partial(progress, total=len(images), what="evaluating")
            report = evaluate_classifier(predictor, images, skip_unreadable=skip, progress=follow)
        if self.json:
            print(json.dumps(report.to_dict()))
        else:
            print(report.table())
        if self.save:
            for path in report.save(self.save):
                print(f"written: {path}", file=sys.stderr)
        return 0
