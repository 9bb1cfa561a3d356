"""Small segmenters of this package and peers of torchvision's, trained from scratch with one recipe.

    python benchmarks/segmentation.py ../shared/data/camvid --model upernet_internimage_atto --output runs/a
    python benchmarks/segmentation.py ../shared/data/camvid --model lraspp_mobilenet_v3_large ...

Repeat a command to resume it.  A model's first updates are timed, and it takes as many epochs as fit into the minutes.
The epoch is selected on the validation images; the test images are looked at once.  Same images, augmentation,
optimiser, schedule and evaluation; only the model differs.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peers import SegmenterConfig, latencies, load, trained
from torch import nn

import internimage
from internimage.data.formats.masks import read_parts
from internimage.data.masks import SegmentedImages
from internimage.data.sampling.sampler import SampleKey
from internimage.data.splits import make_splits
from internimage.inference.evaluation import evaluate_part
from internimage.machine import describe_machine
from internimage.settings.segmentation import SegmentationAugmentation
from internimage.settings.training import TrainingConfig
from internimage.tasks.segmentation.augmentation import TrainingTransform
from internimage.tasks.segmentation.dataset import SegmentationDataset

SIZE = 240
AUGMENTATION = SegmentationAugmentation(crop=(240, 320), short=240, long=960)
TRAINING = TrainingConfig(
    batch_size=8,
    lr=1e-3,
    lr_power=1.0,
    warmup_epochs=1,
    drop_path=0.0,
    ema_decay=0.99,
    workers=0,
    track="none",
    keep_checkpoints=1,
)
RESULT = "result.json"


def measure(model: nn.Module, data: SegmentedImages) -> dict[str, Any]:
    """Scores on images that training did not see, and milliseconds from tensor to result."""
    predictor = internimage.Predictor(model, device="cpu", batch_size=1)
    report = evaluate_part(predictor, data).to_dict()
    times = latencies(predictor.pipeline, data, len(data) - 3)
    classes = report.pop("per_class")
    return {
        "test": {name: value for name, value in report.items() if name != "unreadable"},
        "test_per_class": {name: row["iou"] for name, row in classes.items()},
        "latency_ms": statistics.median(times),
        "latency_quartiles_ms": statistics.quantiles(times, n=4)[::2],
    }


@torch.no_grad()
def with_fresh_statistics(model: Any, train: SegmentedImages, seed: int) -> nn.Module:
    """Means and variances of batch normalisation taken anew from the training images.

    torchvision's MobileNetV3 moves them by a hundredth an update, and has not caught up after a few hundred.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    data = SegmentationDataset(train, TrainingTransform(AUGMENTATION, model.description.preprocessing), seed)
    size = TRAINING.batch_size
    for start in range(0, len(data) - size + 1, size):
        model(torch.stack([data[SampleKey(1, index)].image for index in range(start, start + size)]))
    fresh: nn.Module = model.eval()
    return fresh


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="upernet_internimage_atto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--lr", type=float, default=TRAINING.lr)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    splits = make_splits(read_parts(options.data), options.data)
    assert splits.test is not None
    ours = options.model in internimage.list_models()
    run, minutes = trained(
        options.data,
        options.model if ours else SegmenterConfig(options.model),
        options.output,
        size=SIZE,
        training=replace(TRAINING, seed=options.seed, lr=options.lr),
        augmentation=AUGMENTATION,
        minutes=options.minutes,
    )
    fresh = with_fresh_statistics(load(run.final), splits.train, options.seed)
    result = {
        "model": options.model,
        "parameters": run.summary["parameters"],
        "epochs": len(run.history),
        "minutes": minutes,
        "best": run.summary["best"],
        "last": run.history[-1],
        **measure(load(run.best), splits.test),
        "last_with_fresh_statistics": {
            name: internimage.evaluate(options.data, fresh, part=name, device="cpu").compute()["miou"]
            for name in ("val", "test")
        },
        "machine": str(describe_machine(torch.device("cpu"))),
    }
    (options.output / RESULT).write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
