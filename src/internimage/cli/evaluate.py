"""internimage evaluate"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, arg

from internimage.cli.common import MaxPixels, ModelOptions, ViewOptions, print_json, progress
from internimage.cli.masks import MaskOptions
from internimage.settings.data import DataOptions


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a model, or results of any tool, on labelled images.

    $ internimage evaluate --data photos/ --model runs/photos/best --part test

    $ internimage evaluate --data cells/ --model runs/cells --save report/

    $ internimage evaluate --data cells/ --predictions results.json

    $ internimage evaluate --data VOCdevkit/ --predictions results/Main/

    Classifiers: accuracies. Detectors: COCO's average precision of boxes and masks, precision-recall curves, and at a
    score threshold the objects that are found, missed and false. Segmenters: mean intersection over union.
    3D detectors: nuScenes' score and errors. All: a table of classes, a confusion matrix, the worst pictures.
    """

    data: Annotated[Path, arg(metavar="FOLDER")]
    """Labelled images. Classifiers: one folder per class, or train, val, test as folders, .csv, .zip, .tar shards
    or iNaturalist's .json; detectors: COCO annotations; segmenters: a folder of masks beside the folder of images; 3D
    detectors: nuScenes' tables."""
    part: Annotated[
        Literal["all", "train", "val", "test", "minival"] | None,
        arg(metavar="{all,train,val,test,minival}", help_behavior_hint="(default: val, or all without one)"),
    ] = None
    """Part to evaluate on; all takes FOLDER itself (one folder per class), or its only part;
    minival is LVIS' validation without the pictures of COCO's training."""
    predictions: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Measure these instead of a model: COCO's results or nuScenes' submission (.json), or those of a benchmark set
    (VOC's folder of comp4_det_test_CLASS.txt, CrowdHuman's .odgt, BDD100K's .json, OpenImages' .csv with
    PredictionString); a folder of masks named as the pictures; a table (.csv) with the columns path, label and maybe
    score."""
    score_threshold: Annotated[float | None, arg(metavar="SCORE", help_behavior_hint="(default: the best F1)")] = None
    """Detectors: minimum score of the objects that count as found or false; by default the hundredth with the best F1
    of all classes together on these images. Average precision needs none."""
    views: ViewOptions = field(default_factory=ViewOptions)
    masks: MaskOptions = field(default_factory=MaskOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    max_pixels: MaxPixels = None
    reading: DataOptions = field(default_factory=DataOptions)
    on_corrupt: Literal["error", "skip"] = "error"
    """What to do with files that cannot be read; skipped files are counted."""
    save: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Folder for metrics.json and charts: confusion.png, worst.png, for detectors also precision_recall.png."""
    json: FlagCreatePairsOff[bool] = False
    """Print the metrics as one JSON object."""

    def run(self) -> int:
        from internimage.data.formats.pictures import refuse_inside
        from internimage.errors import ConfigError
        from internimage.inference.evaluation import evaluate

        refuse_inside("--save", self.save, self.data)
        own = (self.model, self.views, self.masks) != (ModelOptions(), ViewOptions(), MaskOptions())
        if self.predictions and own:
            raise ConfigError("--predictions are measured instead of a model; leave the model's options out")

        def follow(entries: Any) -> Any:
            for folder in {one.file.parent for one in entries if isinstance(one.file, Path)}:
                refuse_inside("--save", self.save, folder)
            return progress(entries, total=len(entries), what="evaluating")

        report = evaluate(
            self.data,
            None if self.predictions else self.masks.around(self.model.predictor(self.views), self.model.device),
            predictions=self.predictions,
            part=self.part,
            score_threshold=self.score_threshold,
            reading=None if self.reading == DataOptions() else self.reading,
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
