"""Small segmenters of this package and peers of torchvision's, trained from scratch with one recipe.

    python benchmarks/segmentation.py ../shared/data/camvid --model upernet_internimage_atto --output runs/a
    python benchmarks/segmentation.py ../shared/data/camvid --model lraspp_mobilenet_v3_large ...

Repeat a command to resume it.  The first run of each model times an update and takes as many epochs as fit into the
minutes.  The epoch is selected on the validation images; the test images are looked at once.  Same images,
augmentation, optimiser, schedule and evaluation; only the model differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import internimage
from internimage.cli.console import ConsoleReporter
from internimage.data.dataset import SampleKey
from internimage.data.masks import SegmentedImages
from internimage.data.formats.masks import read_mask_splits
from internimage.images import FitPreprocessing
from internimage.layers.segmentation import pixel_loss
from internimage.machine import describe_machine
from internimage.settings.segmentation import SegmentationAugmentation
from internimage.settings.training import TrainingConfig
from internimage.tasks.segmentation.augmentation import TrainingTransform
from internimage.tasks.segmentation.dataset import SegmentationDataset
from internimage.tasks.segmentation.task import SegmentationTask
from internimage.training.state import newest_checkpoint
from internimage.training.trainer import Trainer

PREPROCESSING = FitPreprocessing(240, 960)
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
WEIGHTS, RESULT, LENGTH = "weights.safetensors", "result.json", "epochs.json"


class Peer(nn.Module):
    """A segmenter of torchvision's, called as ours are."""

    def __init__(self, name: str, num_classes: int) -> None:
        super().__init__()
        build = getattr(torchvision.models.segmentation, name)
        self.model = build(weights=None, weights_backbone=None, num_classes=num_classes)

    def forward(
        self, images: Tensor, truth: Tensor | None = None, *, coarse: bool = False
    ) -> Tensor | dict[str, Tensor]:
        logits = self.model(images)["out"]  # as large as the images
        return logits if truth is None else {"pixels": pixel_loss(logits, truth)}


def build(name: str, data: SegmentedImages, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    if name not in internimage.list_models():
        return Peer(name, len(data.classes))
    model: Any = internimage.create_model(name, num_classes=len(data.classes))
    model.description = dataclasses.replace(
        model.description, labels=data.classes, palette=data.palette, preprocessing=PREPROCESSING
    )
    return model


def save(model: nn.Module, folder: Path, weights: Mapping[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)


def fitting_epochs(
    model: nn.Module, task: SegmentationTask, train: SegmentationDataset, val: SegmentationDataset, minutes: float
) -> int:
    """How many epochs with their evaluations take so long, by a few of their steps."""
    samples = [train[SampleKey(0, index)] for index in range(TRAINING.batch_size)]
    times = []
    for _ in range(5):
        started = time.perf_counter()
        batch = task.collate([train[SampleKey(0, index)] for index in range(len(samples))])
        torch.stack(list(task.losses(model.train(), batch).values())).sum().backward()
        times.append(time.perf_counter() - started)
    step = statistics.median(times[1:])
    model.zero_grad()
    picture = task.collate([val[SampleKey(0, 0)]])
    started = time.perf_counter()
    for _ in range(3):
        task.predict(model.eval(), picture)
    look = (time.perf_counter() - started) / 3
    epoch = len(train) // TRAINING.batch_size * step + len(val) * look
    return max(1, int(minutes * 60 / epoch))


def measure(task: SegmentationTask, model: nn.Module, data: SegmentationDataset) -> dict[str, Any]:
    """Scores on images that training did not see, and milliseconds from tensor to result."""
    metric, times = task.metric(), []
    for index in range(len(data)):
        batch = task.collate([data[SampleKey(0, index)]])
        started = time.perf_counter()
        results = task.predict(model, batch)
        times.append((time.perf_counter() - started) * 1e3)
        metric.update(results, batch)
    return {
        "test": metric.compute(),
        "test_per_class": {name: row["iou"] for name, row in metric.per_class().items()},
        "latency_ms": statistics.median(times[3:]),
        "latency_quartiles_ms": statistics.quantiles(times[3:], n=4)[::2],
    }


@torch.no_grad()
def with_fresh_statistics(model: nn.Module, train: SegmentationDataset) -> nn.Module:
    """Means and variances of batch normalisation taken anew from the training images.

    torchvision's MobileNetV3 moves them by a hundredth an update, and has not caught up after a few hundred.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    size = TRAINING.batch_size
    for start in range(0, len(train) - size + 1, size):
        model(torch.stack([train[SampleKey(1, index)].image for index in range(start, start + size)]))
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="upernet_internimage_atto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--lr", type=float, default=TRAINING.lr)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    splits = read_mask_splits(options.data)
    assert splits.test is not None
    model = build(options.model, splits.train, options.seed)
    ours = not isinstance(model, Peer)
    task = SegmentationTask(splits.train.classes, splits.train.palette)
    train = SegmentationDataset(splits.train, TrainingTransform(AUGMENTATION, PREPROCESSING), options.seed)
    val, test = SegmentationDataset(splits.val, PREPROCESSING), SegmentationDataset(splits.test, PREPROCESSING)
    length = options.output / LENGTH
    if not length.exists():
        options.output.mkdir(parents=True, exist_ok=True)
        length.write_text(json.dumps(fitting_epochs(model, task, train, val, options.minutes)))
        model = build(options.model, splits.train, options.seed)  # the running means have moved
    config = dataclasses.replace(TRAINING, epochs=json.loads(length.read_text()), seed=options.seed, lr=options.lr)
    writer = {} if ours else {"save": save}
    trainer = Trainer(task, model, train, val, config, options.output, ConsoleReporter(), cpu=True, **writer)
    started = time.monotonic()
    trainer.fit(resume=newest_checkpoint(options.output) is not None)
    minutes = (time.monotonic() - started) / 60

    def load(folder: str) -> nn.Module:
        if ours:
            return internimage.load_model(options.output / folder)
        peer = build(options.model, splits.train, options.seed).eval()
        peer.load_state_dict(load_file(options.output / folder / WEIGHTS))
        return peer

    fresh = with_fresh_statistics(load("final"), train)
    result = {
        "model": options.model,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": config.epochs,
        "minutes": minutes,
        "best": trainer.summary()["best"],
        "last": trainer.progress.history[-1],
        **measure(task, load("best"), test),
        "last_with_fresh_statistics": {
            name: measure(task, fresh, part)["test"]["miou"] for name, part in (("val", val), ("test", test))
        },
        "machine": str(describe_machine(torch.device("cpu"))),
    }
    (options.output / RESULT).write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
