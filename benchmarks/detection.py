"""Small detectors of this package and peers of torchvision's and transformers', trained from scratch with one recipe.

    python benchmarks/detection.py ../shared/data/bccd --model mask_rcnn_internimage_atto_fpn --output runs/bccd-ours
    python benchmarks/detection.py ../shared/data/bccd --model dino_internimage_atto --lr 5e-4 --clip-norm 0.1 ...
    python benchmarks/detection.py ../shared/data/bccd --model fasterrcnn_mobilenet_v3_large_320_fpn ...
    python benchmarks/detection.py ../shared/data/bccd --model rt_detr --lr 5e-4 --clip-norm 0.1 ...
    python benchmarks/detection.py ../shared/data/nuclei --model maskrcnn_resnet50_fpn --epochs 4 ...

Without --epochs a model's first updates are timed, and it takes as many epochs as fit into the minutes.  Repeat a
command to resume it.  The epoch is selected on the validation images, which are also what is reported: the
data sets have no third part.  Same images, augmentation, optimiser, schedule and evaluation; only the model differs.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

import torch
from peers import DetectorConfig, RTDETRConfig, latencies, load, trained

import internimage
from internimage.data.formats.coco import read_parts
from internimage.data.splits import make_splits
from internimage.machine import describe_machine
from internimage.settings.detection import DetectionAugmentation
from internimage.settings.training import TrainingConfig

SIZE = 320
AUGMENTATION = DetectionAugmentation(short_sides=(320,), long=533)
TRAINING = TrainingConfig(
    batch_size=4, lr=1e-3, warmup_epochs=1, drop_path=0.0, ema_decay=0.99, workers=0, track="none", keep_checkpoints=1
)
RESULT = "result.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="mask_rcnn_internimage_atto_fpn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--lr", type=float, default=TRAINING.lr)
    parser.add_argument("--clip-norm", type=float, default=TRAINING.clip_norm)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    model = options.model
    if model not in internimage.list_models():
        model = RTDETRConfig(model) if model == "rt_detr" else DetectorConfig(model)
    training = replace(TRAINING, seed=options.seed, lr=options.lr, clip_norm=options.clip_norm)
    run, minutes = trained(
        options.data,
        model,
        options.output,
        size=SIZE,
        training=replace(training, epochs=options.epochs) if options.epochs else training,
        augmentation=AUGMENTATION,
        minutes=None if options.epochs else options.minutes,
    )
    best = internimage.Predictor(load(run.best), device="cpu")
    times = latencies(best.pipeline, make_splits(read_parts(options.data), options.data).val, 30)
    result = {
        "data": options.data.name,
        "model": options.model,
        "parameters": sum(parameter.numel() for parameter in best.model.parameters()),
        "epochs": len(run.history),
        "minutes": minutes,
        "best": run.summary["best"],
        "last": run.history[-1],
        "latency_ms": statistics.median(times),
        "latency_quartiles_ms": statistics.quantiles(times, n=4)[::2],
        "machine": str(describe_machine(torch.device("cpu"))),
    }
    (options.output / RESULT).write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
