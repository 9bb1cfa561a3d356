"""Images a second: our data set, torchvision's plain ImageFolder with the same transform, and training itself.

    python benchmarks/loading.py ../shared/data/clothing/train --rounds 5

Each round reads every image once in each way, in turn; medians and the range are printed.  Training is forward,
backward and update on pictures that are already there, with as many threads as there are cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

import internimage
from internimage.contracts import Amount
from internimage.data.formats.class_folders import read_image_folder
from internimage.data.sampling.sampler import EpochSampler
from internimage.images import Preprocessing
from internimage.tasks.classification.augmentation import training_transform
from internimage.tasks.classification.dataset import ClassificationDataset
from internimage.tasks.classification.defaults import default_settings
from internimage.tasks.classification.task import ClassificationTask

BATCH = 16


def reading(loader: DataLoader[Any]) -> Callable[[], float]:
    def once() -> float:
        images, started = 0, time.perf_counter()
        for batch in loader:
            images += len(batch.images if hasattr(batch, "images") else batch[0])
        return images / (time.perf_counter() - started)

    return once


def training(name: str, size: int) -> Callable[[], float]:
    model = internimage.create_model(name, num_classes=10).train()
    optimizer = torch.optim.AdamW(model.parameters())
    images, labels = torch.randn(BATCH, 3, size, size), torch.arange(BATCH) % 10

    def once() -> float:
        started = time.perf_counter()
        for _ in range(3):
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
        return 3 * BATCH / (time.perf_counter() - started)

    return once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="one folder a class")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    data = read_image_folder(options.data)
    _, augmentation = default_settings(Amount(len(data), "scratch", options.size, "image_classifier"))
    transform = training_transform(augmentation, Preprocessing(resize=options.size, crop=options.size))
    task = ClassificationTask(data)
    ways: dict[str, Callable[[], float]] = {}
    for workers in options.workers:
        ours, plain = ClassificationDataset(data, transform), ImageFolder(str(options.data), transform)
        settings: dict[str, Any] = {"batch_size": BATCH, "num_workers": workers, "persistent_workers": workers > 0}
        sampler = EpochSampler(len(data), 0, shuffle=True)
        ways[f"ours, {workers} workers"] = reading(
            DataLoader(ours, sampler=sampler, collate_fn=task.collate, **settings)
        )
        ways[f"torchvision, {workers} workers"] = reading(DataLoader(plain, shuffle=True, **settings))
    for name in ("internimage_atto", "internimage_pico"):
        ways[f"training {name}"] = training(name, options.size)
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds + 1):
        for name, once in ways.items():
            speed = once()
            if number:  # the first round starts the workers
                speeds[name].append(speed)
    print(f"{len(data)} images, {options.size} pixels, {torch.get_num_threads()} threads, {options.rounds} rounds")
    print("| | images a second | range |")
    print("|---|---:|---|")
    for name, values in speeds.items():
        print(f"| {name} | {statistics.median(values):.0f} | {min(values):.0f} to {max(values):.0f} |")


if __name__ == "__main__":
    main()
