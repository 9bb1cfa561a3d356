"""internimage evaluate"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, arg

from internimage.cli.common import ModelOptions


@dataclass(frozen=True)
class Evaluate:
    """Measure a classifier on labelled images: accuracies, per-class table, confusion matrix, worst predictions.

    $ internimage evaluate --data photos/ --model runs/photos/best --part test
    """

    data: Annotated[Path, arg(metavar="FOLDER")]
    """Images: one folder a class, or train, val, test as folders, .csv, .zip, .tar shards, or iNaturalist's .json."""
    part: Literal["all", "train", "val", "test"] = "all"
    """Which part; all takes FOLDER itself as one folder a class."""
    model: ModelOptions = field(default_factory=ModelOptions)
    on_corrupt: Literal["error", "skip"] = "error"
    """What to do about files that cannot be read; skipped ones are counted."""
    save: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Folder for confusion.png, worst.png and metrics.json."""
    json: FlagCreatePairsOff[bool] = False
    """Print the numbers as one JSON object."""

    def run(self) -> int:
        from internimage.inference.evaluation import evaluate_classifier, read_part

        data = read_part(self.data, self.part)
        predictor = self.model.predictor()
        report = evaluate_classifier(predictor, data, skip_unreadable=self.on_corrupt == "skip")
        if self.json:
            print(json.dumps(report.to_dict()))
        else:
            print(report.table())
        if self.save:
            for path in report.save(self.save):
                print(f"written: {path}", file=sys.stderr)
        return 0
