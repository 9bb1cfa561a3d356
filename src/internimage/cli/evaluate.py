"""internimage evaluate"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, arg

from internimage.cli.common import ModelOptions, augmentation, print_json, progress
from internimage.settings.data import DataOptions


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a model on labelled images.

    $ internimage evaluate --data photos/ --model runs/photos/best --part test

    $ internimage evaluate --data cells/ --model runs/cells/best --part val --save report/

    Classifiers: accuracies, a table of classes, confusion matrix, worst predictions. Detectors: COCO's average
    precision of boxes and masks, a table of classes, precision-recall curves. Segmenters: mean intersection over union,
    a table of classes, confusion matrix.
    """

    data: Annotated[Path, arg(metavar="FOLDER")]
    """Labelled images. Classifiers: one folder per class, or train, val, test as folders, .csv, .zip, .tar shards
    or iNaturalist's .json; detectors: COCO annotations; segmenters: a folder of masks beside the folder of images."""
    part: Literal["all", "train", "val", "test"] = "all"
    """Part to evaluate on; all takes FOLDER itself (one folder per class), or its only part."""
    tta: FlagCreatePairsOff[bool] = False
    """Detectors and segmenters: test-time augmentation with mirrored images and --tta-sides."""
    tta_sides: Annotated[tuple[int, ...], arg(metavar="PIXELS...", help_behavior_hint="(default: the model's)")] = ()
    """Shorter sides of the image for --tta, such as 600 800 1000."""
    model: ModelOptions = field(default_factory=ModelOptions)
    reading: DataOptions = field(default_factory=DataOptions)
    on_corrupt: Literal["error", "skip"] = "error"
    """What to do with files that cannot be read; skipped files are counted."""
    save: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Folder for metrics.json and charts: confusion.png (for classifiers also worst.png) or precision_recall.png."""
    json: FlagCreatePairsOff[bool] = False
    """Print the metrics as one JSON object."""

    def run(self) -> int:
        from internimage.inference.evaluation import evaluate

        def follow(entries: Any) -> Any:
            return progress(entries, total=len(entries), what="evaluating")

        report = evaluate(
            self.data,
            self.model.name,
            part=self.part,
            checkpoint=self.model.checkpoint,
            labels=self.model.labels,
            device=self.model.device,
            dtype=self.model.torch_dtype(),
            batch_size=self.model.batch_size,
            augmentation=augmentation(self.tta, self.tta_sides),
            max_objects=self.model.max_objects,
            reading=self.reading,
            on_corrupt=self.on_corrupt,
            progress=follow,
        )
        if self.json:
            print_json(report.to_dict())
        else:
            print(report.table())
        if self.save:
            for path in report.save(self.save):
                print(f"written: {path}", file=sys.stderr)
        return 0
