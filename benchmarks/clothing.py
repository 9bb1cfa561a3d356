"""The clothing models of this package and a peer, trained from scratch with one recipe.

    python benchmarks/clothing.py train ../shared/data/clothing --model internimage_atto --seed 0 --output runs/atto-0
    python benchmarks/clothing.py table runs/*

``train`` (repeat it to resume) selects the epoch on the validation photos and then looks at the test photos once.
``table`` prints mean and spread of the runs it is given as Markdown.  Models: names of ours, resnet18 (torchvision), or
names of timm's (pip install timm), such as convnext_atto.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

import internimage
from internimage.cli.console import ConsoleReporter
from internimage.data.dataset import EpochSampler
from internimage.data.formats.class_folders import read_class_folder_splits
from internimage.images import Preprocessing
from internimage.machine import describe_machine
from internimage.settings.classification import ClassificationAugmentation
from internimage.settings.training import TrainingConfig
from internimage.tasks.classification.augmentation import batch_mixing, training_transform
from internimage.tasks.classification.dataset import ClassificationDataset
from internimage.tasks.classification.evaluation import read_part
from internimage.tasks.classification.prepare import evaluation_data
from internimage.tasks.classification.task import ClassificationTask
from internimage.training.state import newest_checkpoint
from internimage.training.trainer import Trainer, evaluate

PREPROCESSING = Preprocessing(resize=128, crop=128)
TRAINING = TrainingConfig(
    epochs=100, batch_size=16, lr=8e-4, warmup_epochs=5, drop_path=0.05, ema_decay=0.99, workers=1
)
AUGMENTATION = ClassificationAugmentation(rand_augment=4, mixup=0.1, cutmix=0.0, erasing=0.1)
WEIGHTS, RESULT = "weights.safetensors", "result.json"


def build(name: str, classes: tuple[str, ...], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    if name == "resnet18":
        return torchvision.models.resnet18(num_classes=len(classes))
    if name not in internimage.list_models():
        import timm

        return timm.create_model(name, num_classes=len(classes), drop_path_rate=TRAINING.drop_path)
    model = internimage.create_model(name, num_classes=len(classes))
    model.description = dataclasses.replace(model.description, labels=classes, preprocessing=PREPROCESSING)
    return model


def save(model: nn.Module, folder: Path, weights: Mapping[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)


def train(options: argparse.Namespace) -> None:
    config = dataclasses.replace(TRAINING, seed=options.seed, epochs=options.epochs or TRAINING.epochs)
    splits = read_class_folder_splits(options.data)
    classes = splits.train.classes
    task = ClassificationTask(classes, AUGMENTATION.label_smoothing, batch_mixing(AUGMENTATION, len(classes)))
    data = ClassificationDataset(splits.train, training_transform(AUGMENTATION, PREPROCESSING), options.seed)
    val = evaluation_data(splits.val, PREPROCESSING)
    model = build(options.model, classes, options.seed)
    ours = options.model in internimage.list_models()
    writer = {} if ours else {"save": save}
    trainer = Trainer(task, model, data, val, config, options.output, ConsoleReporter(), cpu=True, **writer)
    started = time.monotonic()
    trainer.fit(resume=newest_checkpoint(options.output) is not None)
    minutes = (time.monotonic() - started) / 60

    best = internimage.load_model(options.output / "best") if ours else build(options.model, classes, options.seed)
    if not ours:
        best.load_state_dict(load_file(options.output / "best" / WEIGHTS))
    held_out = evaluation_data(read_part(options.data, "test"), PREPROCESSING)
    sampler = EpochSampler(len(held_out), 0, shuffle=False)
    loader = DataLoader(held_out, 32, sampler=sampler, collate_fn=task.collate)
    result = {
        "model": options.model,
        "seed": options.seed,
        "epochs": config.epochs,
        "parameters": sum(parameter.numel() for parameter in best.parameters()),
        "val": trainer.progress.best,
        "test": evaluate(task, best, loader, trainer.accelerator),
        "minutes": minutes,
        "machine": str(describe_machine(torch.device("cpu"))),
    }
    (options.output / RESULT).write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def table(options: argparse.Namespace) -> None:
    results = [json.loads((run / RESULT).read_text()) for run in options.runs]
    print("| model | parameters | seeds | validation top-1 | test top-1 | of each seed |")
    print("|---|---:|---:|---:|---:|---|")
    for name in dict.fromkeys(result["model"] for result in results):
        runs = sorted((result for result in results if result["model"] == name), key=lambda result: result["seed"])
        val, test = [run["val"] for run in runs], [run["test"]["top1"] for run in runs]
        spread = statistics.stdev(test) if len(test) > 1 else float("nan")
        print(
            f"| {name} | {runs[0]['parameters'] / 1e6:.1f} M | {len(runs)} | {statistics.mean(val):.1%} "
            f"| {statistics.mean(test):.1%} ± {spread:.1%} | {', '.join(f'{value:.1%}' for value in test)} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    trains = commands.add_parser("train", help="train one model with one seed")
    trains.add_argument("data", type=Path)
    trains.add_argument("--model", default="internimage_atto")
    trains.add_argument("--seed", type=int, default=0)
    trains.add_argument("--epochs", type=int)
    trains.add_argument("--output", type=Path, required=True)
    trains.set_defaults(act=train)
    tables = commands.add_parser("table", help="mean and spread of finished runs")
    tables.add_argument("runs", type=Path, nargs="+")
    tables.set_defaults(act=table)
    options = parser.parse_args()
    options.act(options)


if __name__ == "__main__":
    main()
