"""The clothing models of this package and a peer, trained from scratch with one recipe.

    python benchmarks/clothing.py train ../shared/data/clothing --model internimage_atto --seed 0 --output runs/atto-0
    python benchmarks/clothing.py table runs/*

``train`` (repeat it to resume) selects the epoch on the validation photos and then looks at the test photos once.
``table`` prints mean and spread of the runs it is given as Markdown.  Models: names of ours, resnet18 (torchvision), or
names of timm's (pip install timm), such as convnext_atto.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

import torch
from peers import ClassifierConfig, load, trained

import internimage
from internimage.machine import describe_machine
from internimage.settings.classification import ClassificationAugmentation
from internimage.settings.training import TrainingConfig

SIZE = 128
TRAINING = TrainingConfig(
    epochs=100, batch_size=16, lr=8e-4, warmup_epochs=5, drop_path=0.05, ema_decay=0.99, workers=1
)
AUGMENTATION = ClassificationAugmentation(rand_augment=4, mixup=0.1, cutmix=0.0, erasing=0.1)
RESULT = "result.json"


def train(options: argparse.Namespace) -> None:
    config = replace(TRAINING, seed=options.seed, epochs=options.epochs or TRAINING.epochs)
    ours = options.model in internimage.list_models()
    model = options.model if ours else ClassifierConfig(options.model, drop_path=config.drop_path)
    run, minutes = trained(options.data, model, options.output, size=SIZE, training=config, augmentation=AUGMENTATION)
    best = load(run.best)
    result = {
        "model": options.model,
        "seed": options.seed,
        "epochs": config.epochs,
        "parameters": sum(parameter.numel() for parameter in best.parameters()),
        "val": max(row["top1"] for row in run.history),
        "test": internimage.evaluate(options.data, best, part="test", device="cpu", batch_size=32).compute(),
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
