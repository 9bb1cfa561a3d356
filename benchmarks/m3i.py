"""What M3I's pre-training is worth: a classifier of clothing after it, against one that learns as long from scratch.

    python benchmarks/m3i.py ../shared/data --minutes 20 --seeds 0 1 2 --output runs/m3i

Each row takes the same time in all.  "scratch" trains a classifier.  "m3i" spends half of it (--share) on M3I with
the photos of clothing and of coco_mini in WebDataset shards, with classes and captions where there are such, and
fine-tunes its backbone for the rest; "m3i, pictures alone" is told neither.  All rows have the classifier's settings of
benchmarks/clothing.py, the epoch is chosen on the validation photos, and the test photos are looked at once.  How many
updates fill the time is found by a few beforehand; the seconds in the table are what training took.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from clothing import AUGMENTATION, SIZE, TRAINING

import internimage
from internimage.machine import describe_machine
from internimage.multimodal.pretraining.settings import ViewsAugmentation
from internimage.recipes import get_recipe
from internimage.settings.training import TrainingConfig

MODEL, PRETRAINED = "internimage_atto", "m3i_internimage_atto"
ARMS = {"scratch": None, "m3i": ViewsAugmentation(), "m3i, pictures alone": ViewsAugmentation(labels=0, texts=0)}
M3I = TrainingConfig(batch_size=32, lr=1e-3, drop_path=0.0, clip_norm=1.0, ema_decay=0.0, workers=1)
_TRIED = 10  # updates that are timed beforehand
_LEFT = 0.92  # share of the time for updates; the rest is for evaluation, reading and writing
_EVALUATIONS = 5
Train = Callable[[TrainingConfig, Path], internimage.Run]


def pack(data: Path, to: Path) -> Path:
    """Shards of clothing's photos with their classes, and for training of coco_mini's with a caption."""
    to.mkdir(parents=True, exist_ok=True)
    for part in ("train", "val"):
        with tarfile.open(to / f"{part}-0.tar", "w") as tar:
            for file in sorted((data / "clothing" / part).glob("*/*")):
                key = f"clothing-{file.parent.name}-{file.stem}".replace(".", "_")
                add(tar, f"{key}{file.suffix.lower()}", file.read_bytes())
                add(tar, f"{key}.cls", file.parent.name.encode())
            for file, caption in captions(data / "coco_mini") if part == "train" else ():
                add(tar, f"coco-{file.stem}{file.suffix}", file.read_bytes())
                add(tar, f"coco-{file.stem}.txt", caption.encode())
    return to


def captions(root: Path) -> list[tuple[Path, str]]:
    """Each photo of coco_mini with its first caption."""
    found = []
    for part in ("train2017", "val2017"):
        content = json.loads((root / "annotations" / f"captions_{part}.json").read_text())
        first: dict[int, str] = {}
        for one in content["annotations"]:
            first.setdefault(one["image_id"], one["caption"])
        found += [(root / part / one["file_name"], first[one["id"]]) for one in content["images"]]
    return found


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def filling(train: Train, config: TrainingConfig, seconds: float, folder: Path) -> tuple[internimage.Run, float]:
    """A run that takes so many seconds, and how many it took."""
    tried = train(replace(config, updates=_TRIED, evaluate_every=1000), folder / "tried").summary
    each = tried["images_an_update"] / tried["images_per_second"]
    updates = max(1, round(_LEFT * seconds / each))
    epochs = -(-updates * tried["images_an_update"] // tried["images"])
    config = replace(
        config, updates=updates, warmup_updates=max(1, updates // 20), evaluate_every=max(1, epochs // _EVALUATIONS)
    )
    begin = time.monotonic()
    run = train(config, folder / "run")
    return run, time.monotonic() - begin


def measured(arm: str, seed: int, shards: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One row of one seed."""
    folder: Path = options.output / arm.replace(", ", "-").replace(" ", "-") / str(seed)
    total, augmentation = options.minutes * 60, ARMS[arm]
    init, spent = "scratch", 0.0
    result: dict[str, Any] = {"arm": arm, "seed": seed}
    if augmentation is not None:
        model = replace(get_recipe(PRETRAINED).config, momentum=options.momentum)

        def pretrain(config: TrainingConfig, to: Path) -> internimage.Run:
            return internimage.train(
                shards, model=model, size=SIZE, training=config, augmentation=augmentation, output=to, device="cpu"
            )

        run, spent = filling(pretrain, replace(M3I, seed=seed), options.share * total, folder / "m3i")
        init = str(run.final)
        result |= {"m3i_seconds": spent, "m3i_updates": run.summary["updates"], "m3i_last": run.history[-1]}

    def finetune(config: TrainingConfig, to: Path) -> internimage.Run:
        return internimage.train(
            options.data / "clothing",
            model=MODEL,
            init=init,
            size=SIZE,
            training=config,
            augmentation=AUGMENTATION,
            output=to,
            device="cpu",
        )

    run, seconds = filling(finetune, replace(TRAINING, seed=seed), total - spent, folder / "classifier")
    test = internimage.evaluate(options.data / "clothing", run.best, part="test", device="cpu", batch_size=32).compute()
    return result | {
        "seconds": spent + seconds,
        "updates": run.summary["updates"],
        "val": max(row["top1"] for row in run.history),
        "test": test["top1"],
    }


def table(results: list[dict[str, Any]], minutes: float) -> None:
    print(f"Clothing, {SIZE} pixels, {minutes:g} minutes a row, on {describe_machine(torch.device('cpu'))}\n")
    print("| | seeds | validation top-1 | test top-1 | of each seed | seconds | of them M3I |")
    print("|---|---:|---:|---:|---|---:|---:|")
    for arm in dict.fromkeys(one["arm"] for one in results):
        rows = [one for one in results if one["arm"] == arm]
        test = [one["test"] for one in rows]
        spread = f" ± {statistics.stdev(test):.1%}" if len(test) > 1 else ""
        seconds, before = (statistics.mean(one.get(name, 0) for one in rows) for name in ("seconds", "m3i_seconds"))
        print(
            f"| {arm} | {len(rows)} | {statistics.mean(one['val'] for one in rows):.1%} "
            f"| {statistics.mean(test):.1%}{spread} | {', '.join(f'{one:.1%}' for one in test)} "
            f"| {seconds:.0f} | {before:.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with clothing/ and coco_mini/")
    parser.add_argument("--minutes", type=float, default=20, help="of each row and seed, in all")
    parser.add_argument("--share", type=float, default=0.5, help="of the time that M3I has")
    parser.add_argument("--momentum", type=float, default=0.996, help="of the average that is the target, at first")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--output", type=Path, required=True, help="a folder that does not exist, outside of the data")
    options = parser.parse_args()
    shards = pack(options.data, options.output / "shards")
    results = []
    for seed in options.seeds:
        for arm in options.arms:
            results.append(measured(arm, seed, shards, options))
            (options.output / "results.json").write_text(json.dumps(results, indent=2) + "\n")
            print(json.dumps(results[-1]), flush=True)
    table(results, options.minutes)


if __name__ == "__main__":
    main()
