"""What a network learns from the frames before: a trained one goes on with and without them, on the drawn roads.

    internimage data world roads/
    internimage data world drives/ --scenes 1 --frames 8
    internimage train --data roads/ --size 63
    python benchmarks/driving_history.py roads/ runs/roads/best --drives drives/ --seed 0 --output runs/history

Both arms begin with the same weights and see the same frames, as often, in the same order; one sees the frame before
each and remembers in evaluation, the other sees each alone in both.  Prints a JSON line an arm and seed, and leaves it
in its folder; with ``--table`` instead, the mean of what is there.  First, with ``--as-it-is``, the trained network
itself with and without its memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import internimage
from internimage.driving.sequences.settings import DriveAugmentation
from internimage.machine import describe_machine
from internimage.settings.training import TrainingConfig

ARMS = ("history", "alone")
SHOWN = ("map", "nds", "mate", "mave")


def measured(data: Path, model: Path, history: bool) -> dict[str, float]:
    """Scores on the scenes that were set aside."""
    network: Any = internimage.load_model(model)
    network.config = replace(network.config, history=history)
    numbers = internimage.evaluate(data, network, part="val", device="cpu").compute()
    return {name: numbers[name] for name in SHOWN}


def everywhere(options: argparse.Namespace, model: Path, history: bool) -> dict[str, float]:
    """Scores on the data's own scenes, and on longer drives where there are some."""
    numbers = measured(options.data, model, history)
    if options.drives is not None:
        numbers |= {f"drives_{name}": value for name, value in measured(options.drives, model, history).items()}
    return numbers


def started(options: argparse.Namespace, arm: str) -> Path:
    """The network to start from, in which a metre a second counts as asked."""
    network: Any = internimage.load_model(options.weights)
    network.config = replace(network.config, velocity_weight=options.velocity_weight)
    folder: Path = options.output / f"start-{arm}-{options.seed}"
    internimage.save_model(network, folder)
    return folder


def learn(options: argparse.Namespace, arm: str) -> dict[str, object]:
    """Go on training one arm."""
    start = time.monotonic()
    run = internimage.train(
        options.data,
        model=options.weights,
        init=started(options, arm),
        freeze=options.freeze,
        size=options.size,
        device="cpu",
        output=options.output / f"{arm}-{options.seed}",
        training=TrainingConfig(
            updates=options.updates,
            batch_size=8,
            lr=options.lr,
            weight_decay=0.01,
            warmup_updates=options.updates // 20,
            deformable_lr_scale=1.0,
            drop_path=0.0,
            clip_norm=10.0,
            ema_decay=0.99,
            seed=options.seed,
            evaluate_every=100,
            track="none",
        ),
        augmentation=DriveAugmentation(
            queue=options.queue if arm == "history" else 1, skip=False, photometric=False, grid_mask=False
        ),
    )
    minutes = (time.monotonic() - start) / 60
    return {
        "arm": arm,
        "seed": options.seed,
        **everywhere(options, run.best, arm == "history"),
        "updates": options.updates,
        "minutes": minutes,
        "machine": str(describe_machine(torch.device("cpu"))),
    }


def table(folder: Path) -> str:
    """The mean of each arm, and how the velocity error with history compares with that without."""
    results = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    names = [name for name in results[0] if name.removeprefix("drives_") in SHOWN]
    lines = []
    for arm in ARMS:
        rows = [one for one in results if one["arm"] == arm]
        spans = {name: [row[name] for row in rows] for name in names}
        numbers = ", ".join(
            f"{name} {statistics.mean(found):.3f} ({min(found):.3f} to {max(found):.3f})"
            for name, found in spans.items()
        )
        lines.append(f"{arm}, {len(rows)} seeds: {numbers}")
    for name in (name for name in names if name.endswith("mave")):
        error = {arm: statistics.mean(one[name] for one in results if one["arm"] == arm) for arm in ARMS}
        lines.append(f"{name} with history / without: {error['history'] / error['alone']:.3f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path, help="folder of a trained network")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--queue", type=int, default=2, help="frames in a row with history")
    parser.add_argument("--freeze", type=int, default=2, help="stages of the backbone that stay as they are")
    parser.add_argument("--velocity-weight", type=float, default=2.0)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--drives", type=Path, help="measured on the val part of these too")
    parser.add_argument("--size", type=int, default=63)
    parser.add_argument("--output", type=Path, default=Path("runs/history"))
    parser.add_argument("--as-it-is", action="store_true")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(options.output))
        return
    if options.as_it_is:
        for history in (True, False):
            print(json.dumps({"history": history, **everywhere(options, options.weights, history)}))
        return
    for arm in options.arms:
        result = learn(options, arm)
        (options.output / f"{arm}-{options.seed}.json").write_text(json.dumps(result, indent=2))
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
