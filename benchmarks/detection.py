"""Small detectors of this package and peers of torchvision's and transformers', trained from scratch with one recipe.

    python benchmarks/detection.py ../shared/data/bccd --model mask_rcnn_internimage_atto_fpn --output runs/bccd-ours
    python benchmarks/detection.py ../shared/data/bccd --model dino_internimage_atto --lr 5e-4 --clip-norm 0.1 ...
    python benchmarks/detection.py ../shared/data/bccd --model fasterrcnn_mobilenet_v3_large_320_fpn ...
    python benchmarks/detection.py ../shared/data/bccd --model rt_detr --lr 5e-4 --clip-norm 0.1 ...
    python benchmarks/detection.py ../shared/data/nuclei --model maskrcnn_resnet50_fpn --epochs 4 ...

Without --epochs the first run of a model times an update and takes as many as fit into the minutes.  Repeat a command
to resume it.  The epoch is selected on the validation images, which are also what is reported: the
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
from internimage.data.dataset import SampleKey
from internimage.data.formats.coco import read_object_splits
from internimage.data.objects import ObjectImages
from internimage.images import FitPreprocessing
from internimage.machine import describe_machine
from internimage.settings.detection import DetectionAugmentation
from internimage.settings.training import TrainingConfig
from internimage.structures.detection import DetectionTarget, RawDetections
from internimage.tasks.detection.augmentation import object_transform
from internimage.tasks.detection.dataset import DetectionDataset
from internimage.tasks.detection.task import DetectionTask
from internimage.training.state import newest_checkpoint
from internimage.training.trainer import Trainer

PREPROCESSING = FitPreprocessing(320, 533)
AUGMENTATION = DetectionAugmentation(short_sides=(320,), long=533)
TRAINING = TrainingConfig(
    batch_size=4, lr=1e-3, warmup_epochs=1, drop_path=0.0, ema_decay=0.99, workers=0, track="none", keep_checkpoints=1
)
WEIGHTS, RESULT, LENGTH = "weights.safetensors", "result.json", "epochs.json"


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
        targets: Sequence[DetectionTarget] | None = None,
    ) -> list[RawDetections] | dict[str, Tensor]:
        pictures = [image[:, :height, :width] for image, (height, width) in zip(images, sizes, strict=True)]
        if targets is not None:
            return self.model(pictures, [self._target(*pair) for pair in zip(targets, sizes, strict=True)])
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

    def _target(self, truth: DetectionTarget, size: tuple[int, int]) -> dict[str, Tensor]:
        target = {"boxes": truth.boxes, "labels": truth.labels + 1}
        if truth.masks is not None:
            target["masks"] = truth.masks[:, : size[0], : size[1]].to(torch.uint8)
        return target


class RTDETR(nn.Module):
    """transformers' RT-DETR with ResNet-18, called as ours are; its boxes are shares of the padded images."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

        widths = [64, 128, 256, 512]
        resnet = RTDetrResNetConfig(
            depths=[2, 2, 2, 2], hidden_sizes=widths, layer_type="basic", out_features=["stage2", "stage3", "stage4"]
        )
        config = RTDetrConfig(
            backbone_config=resnet,
            encoder_in_channels=widths[1:],
            decoder_layers=3,
            num_queries=100,
            num_labels=num_classes,
            freeze_backbone_batch_norms=False,
        )
        self.model = RTDetrForObjectDetection(config)

    def forward(
        self,
        images: Tensor,
        sizes: Sequence[tuple[int, int]],
        scales: Tensor | None = None,
        targets: Sequence[DetectionTarget] | None = None,
    ) -> list[RawDetections] | dict[str, Tensor]:
        height, width = images.shape[2:]
        extent = images.new_tensor([width, height, width, height])
        if targets is not None:
            targets = []
            for truth in targets:
                first, second = (truth.boxes / extent).chunk(2, dim=1)
                boxes = torch.cat([(first + second) / 2, second - first], dim=1)
                targets.append({"class_labels": truth.labels, "boxes": boxes})
            return {"loss": self.model(images, labels=targets).loss}
        assert scales is not None
        output, results = self.model(images), []
        for logits, boxes, size, scale in zip(output.logits, output.pred_boxes, sizes, scales, strict=True):
            scores, index = logits.sigmoid().flatten().topk(100)
            centre, half = boxes[index // logits.shape[1]].chunk(2, dim=1)
            cxcywh_to_xyxy = torch.cat([centre - half / 2, centre + half / 2], dim=1) * extent
            limit = images.new_tensor([size[1], size[0], size[1], size[0]])
            results.append(
                RawDetections(cxcywh_to_xyxy.clamp(min=0).minimum(limit) / scale, scores, index % logits.shape[1], None)
            )
        return results


def build(name: str, data: ObjectImages, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    if name == "rt_detr":
        return RTDETR(len(data.classes))
    if name not in internimage.list_models():
        return Peer(name, len(data.classes))
    model: Any = internimage.create_model(name, num_classes=len(data.classes))
    if not data.has_masks and hasattr(model, "remove_masks"):
        model.remove_masks()
    model.description = dataclasses.replace(model.description, labels=data.classes, preprocessing=PREPROCESSING)
    return model


def save(model: nn.Module, folder: Path, weights: Mapping[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)


def fitting_epochs(
    model: nn.Module, task: DetectionTask, train: DetectionDataset, val: DetectionDataset, minutes: float
) -> int:
    """How many epochs with their evaluations take so long, by a few of their steps."""
    times = []
    for number in range(6):
        indices = range(number * TRAINING.batch_size, (number + 1) * TRAINING.batch_size)
        started = time.perf_counter()
        batch = task.collate([train[SampleKey(0, index)] for index in indices])
        torch.stack(list(task.losses(model.train(), batch).values())).sum().backward()
        times.append(time.perf_counter() - started)
    picture = task.collate([val[SampleKey(0, 0)]])
    looks = []
    for _ in range(4):
        started = time.perf_counter()
        task.predict(model.eval(), picture)
        looks.append(time.perf_counter() - started)
    epoch = len(train) // TRAINING.batch_size * statistics.median(times[1:]) + len(val) * statistics.median(looks[1:])
    return max(1, int(minutes * 60 / epoch))


def latency(task: DetectionTask, model: nn.Module, data: DetectionDataset) -> list[float]:
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
    parser.add_argument("--model", default="mask_rcnn_internimage_atto_fpn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--lr", type=float, default=TRAINING.lr)
    parser.add_argument("--clip-norm", type=float, default=TRAINING.clip_norm)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    splits = read_object_splits(options.data)
    model, masks = build(options.model, splits.train, options.seed), splits.train.has_masks
    task = DetectionTask(splits.val, masks=masks)
    train = DetectionDataset(
        splits.train, object_transform(AUGMENTATION, PREPROCESSING), masks=masks, seed=options.seed
    )
    val = DetectionDataset(splits.val, preprocessing=PREPROCESSING)
    length = options.output / LENGTH
    if options.epochs is None and not length.exists():
        options.output.mkdir(parents=True, exist_ok=True)
        length.write_text(json.dumps(fitting_epochs(model, task, train, val, options.minutes)))
        model = build(options.model, splits.train, options.seed)  # running means have moved
    epochs = options.epochs or json.loads(length.read_text())
    config = dataclasses.replace(TRAINING, epochs=epochs, seed=options.seed, lr=options.lr, clip_norm=options.clip_norm)
    ours = options.model in internimage.list_models()
    writer = {} if ours else {"save": save}
    trainer = Trainer(task, model, train, val, config, options.output, ConsoleReporter(), cpu=True, **writer)
    started = time.monotonic()
    trainer.fit(resume=newest_checkpoint(options.output) is not None)
    minutes = (time.monotonic() - started) / 60
    best = (
        internimage.load_model(options.output / "best")
        if ours
        else build(options.model, splits.train, options.seed).eval()
    )
    if not ours:
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
