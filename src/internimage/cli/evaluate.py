"""internimage evaluate"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, arg

from internimage.cli.common import ModelOptions, augmentation, progress


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
    """Detectors and segmenters: look at each image mirrored too, and at --tta-sides."""
    tta_sides: Annotated[tuple[int, ...], arg(metavar="PIXELS...", help_behavior_hint="(default: the model's)")] = ()
    """Shorter sides of the image that --tta looks at, such as 600 800 1000."""
    model: ModelOptions = field(default_factory=ModelOptions)
    on_corrupt: Literal["error", "skip"] = "error"
    """What to do about files that cannot be read; skipped ones are counted."""
    save: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Folder for metrics.json and pictures: confusion.png (of classifiers also worst.png), or
    precision_recall.png."""
    json: FlagCreatePairsOff[bool] = False
    """Print the numbers as one JSON object."""

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
            on_corrupt=self.on_corrupt,
            progress=follow,
        )
        print(json.dumps(report.to_dict()) if self.json else report.table())
        if self.save:
            for path in report.save(self.save):
                print(f"written: {path}", file=sys.stderr)
        return 0
