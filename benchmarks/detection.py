"""Small detectors of this package and peers of torchvision's, trained from scratch with one recipe.

    python benchmarks/detection.py ../shared/data/bccd --model ours --epochs 20 --output runs/bccd-ours
    python benchmarks/detection.py ../shared/data/bccd --model fasterrcnn_mobilenet_v3_large_320_fpn ...
    python benchmarks/detection.py ../shared/data/nuclei --model maskrcnn_resnet50_fpn ...

Repeat a command to resume it.  The epoch is selected on the validation images, which are also what is reported: the
data sets have no third part.  Same images, augmentation, optimiser, schedule and evaluation; only the model differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import internimage
from internimage.cli.console import ConsoleReporter
from internimage.data.coco import ObjectImages, read_object_splits
from internimage.data.dataset import SampleKey
from internimage.data.object_augmentation import ObjectAugmentation, object_transform
from internimage.data.object_dataset import ObjectDataset
from internimage.images import FitPreprocessing
from internimage.layers.detection import GroundTruth, RawDetections
from internimage.machine import describe_machine
from internimage.tasks.detection import DetectionTask
from internimage.training.config import TrainingConfig
from internimage.training.state import newest_checkpoint
from internimage.training.trainer import Trainer

PREPROCESSING = FitPreprocessing(320, 533)
AUGMENTATION = ObjectAugmentation(short_sides=(320,), long=533)
TRAINING = TrainingConfig(
    batch_size=4, lr=1e-3, warmup_epochs=1, drop_path=0.0, ema_decay=0.99, workers=0, track="none", keep_checkpoints=1
)
WEIGHTS, RESULT = "weights.safetensors", "result.json"


class Peer(nn.Module):
    """A detector of torchvision's, called as ours are; it neither scales nor normalises again."""

    def __init__(self, name: str, num_classes: int) -> None:
        super().__init__()
        build = getattr(torchvision.models.detection, name)
        self.model = build(weights=None, weights_backbone=None, num_classes=num_classes + 1)
        self.model.transform = torchvision.models.detection.transform.GeneralizedRCNNTransform(
            320, 533, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], _skip_resize=True
        )

    def forward(
        self,
        images: Tensor,
        sizes: Sequence[tuple[int, int]],
        scales: Tensor | None = None,
        truths: Sequence[GroundTruth] | None = None,
    ) -> list[RawDetections] | dict[str, Tensor]:
        pictures = [image[:, :height, :width] for image, (height, width) in zip(images, sizes, strict=True)]
        if truths is not None:
            return self.model(pictures, [self._target(*pair) for pair in zip(truths, sizes, strict=True)])
        batch, _ = self.model.transform(pictures)
        features = self.model.backbone(batch.tensors)
        proposals, _ = self.model.rpn(batch, features)
        found, _ = self.model.roi_heads(features, proposals, batch.image_sizes)
        assert scales is not None
        return [
            RawDetections(
                one["boxes"] / scale, one["scores"], one["labels"] - 1, one["masks"][:, 0] if "masks" in one else None
            )
            for one, scale in zip(found, scales, strict=True)
        ]

    def _target(self, truth: GroundTruth, size: tuple[int, int]) -> dict[str, Tensor]:
        target = {"boxes": truth.boxes, "labels": truth.labels + 1}
        if truth.masks is not None:
            target["masks"] = truth.masks[:, : size[0], : size[1]].to(torch.uint8)
        return target


def build(name: str, data: ObjectImages, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    if name != "ours":
        return Peer(name, len(data.classes))
    model: Any = internimage.create_model("mask_rcnn_internimage_atto_fpn", num_classes=len(data.classes))
    if not data.has_masks:
        model.remove_masks()
    model.description = dataclasses.replace(model.description, labels=data.classes, preprocessing=PREPROCESSING)
    return model


def save(model: nn.Module, folder: Path, weights: Mapping[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)


def latency(task: DetectionTask, model: nn.Module, data: ObjectDataset) -> list[float]:
    """Milliseconds of each of thirty images, from tensor to result, after three that warm up."""
    batches = [task.collate([data[SampleKey(0, index % len(data))]]) for index in range(33)]
    times = []
    for batch in batches:
        started = time.perf_counter()
        task.predict(model, batch)
        times.append((time.perf_counter() - started) * 1e3)
    return times[3:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="ours")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--lr", type=float, default=TRAINING.lr)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    config = dataclasses.replace(TRAINING, epochs=options.epochs, seed=options.seed, lr=options.lr)
    splits = read_object_splits(options.data)
    model, masks = build(options.model, splits.train, options.seed), splits.train.has_masks
    task = DetectionTask(splits.val, masks=masks)
    train = ObjectDataset(splits.train, object_transform(AUGMENTATION, PREPROCESSING), masks=masks, seed=options.seed)
    val = ObjectDataset(splits.val, preprocessing=PREPROCESSING)
    writer = {} if options.model == "ours" else {"save": save}
    trainer = Trainer(task, model, train, val, config, options.output, ConsoleReporter(), cpu=True, **writer)
    started = time.monotonic()
    trainer.fit(resume=newest_checkpoint(options.output) is not None)
    minutes = (time.monotonic() - started) / 60
    best = (
        internimage.load_model(options.output / "best")
        if options.model == "ours"
        else build(options.model, splits.train, options.seed).eval()
    )
    if options.model != "ours":
        best.load_state_dict(load_file(options.output / "best" / WEIGHTS))
    times = latency(task, best, val)
    result = {
        "data": options.data.name,
        "model": options.model,
        "parameters": sum(parameter.numel() for parameter in best.parameters()),
        "epochs": config.epochs,
        "minutes": minutes,
        "best": max(trainer.progress.history, key=lambda row: row[task.best]),
        "last": trainer.progress.history[-1],
        "latency_ms": statistics.median(times),
        "latency_quartiles_ms": statistics.quantiles(times, n=4)[::2],
        "machine": str(describe_machine(torch.device("cpu"))),
    }
    (options.output / RESULT).write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
