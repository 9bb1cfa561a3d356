"""Whole models on this CPU beside their peers, on one and two threads, with all instructions and with AVX2 alone.

    pip install timm
    python benchmarks/cpu.py --rounds 5 --output cpu.json

InternImage-T beside convnext_tiny in both precisions; heads with and without convolutions by tiles (see heads.py), and
torchvision's detector.  Every setting is a process of its own; variants of a row are measured in turn.  Milliseconds,
medians and quartiles; random weights.  The goals are those that the project set itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from heads import MODELS, measured

from internimage.benchmark.models import benchmark_models
from internimage.machine import describe_machine

CPU = torch.device("cpu")
AVX2 = {
    "INTERNIMAGE_CPU": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # PyTorch's float32 products, which are the peers'
}
INSTRUCTIONS: dict[str, dict[str, str]] = {"all": {}, "AVX2": AVX2}
OURS, PEER = "internimage_t_1k_224", "convnext_tiny"
# a ratio to reach, of rows by (row, instructions, threads); of any where there is None
GOALS: dict[tuple[str, str | None, int | None], float] = {
    ("T 224 bfloat16", "all", 1): 1.0,
    ("T 224 bfloat16", "all", 2): 1.1,
    ("T 512 bfloat16", "all", None): 0.95,
    ("T 224 float32", "all", 2): 0.9,
    ("T 224 float32", "AVX2", None): 1.1,
    ("UperNet T 512", None, None): 0.55,
    ("Mask R-CNN T 800x1216", None, None): 0.75,
    ("DINO T 800x1216", None, None): 0.85,
}


def goal(row: str, instructions: str, threads: int) -> float | None:
    for (name, kind, count), value in GOALS.items():
        if name == row and kind in (None, instructions) and count in (None, threads):
            return value
    return None


def rows(rounds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of each row, and its variants' times; the ratio is of the first two."""
    with torch.inference_mode():
        settings = benchmark_models(
            OURS, (PEER,), (224, 512), ("float32", "bfloat16"), 1, CPU, 3 * rounds, compiled=False, training=False
        )
        for one in settings:
            yield f"T {one.size} {one.dtype}", {result.model: result.timing for result in one.results}
    for name, make in MODELS.items():
        yield name, measured(make, rounds)


def here(threads: int, rounds: int) -> None:
    """Every row of this process, a line of JSON each."""
    torch.set_num_threads(threads)
    print(json.dumps({"machine": str(describe_machine(CPU))}), flush=True)
    for name, times in rows(rounds):
        samples = {variant: timing.samples for variant, timing in times.items()}
        text = {variant: str(timing) for variant, timing in times.items()}
        ours, other = (times[variant].median for variant in list(times)[:2])
        print(json.dumps({"row": name, "ratio": ours / other, "ms": text, "samples": samples}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of the heads; three times as many of T")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--instructions", nargs="+", choices=list(INSTRUCTIONS), default=list(INSTRUCTIONS))
    parser.add_argument("--output", type=Path, help="file for every sample, as JSON")
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        return here(options.here, options.rounds)
    found: list[dict[str, Any]] = []
    print(
        "| | instructions, threads | ours, ms | beside, ms | ratio | goal | others |\n|---|---|---:|---:|---:|---:|---|"
    )
    for kind in options.instructions:
        for threads in options.threads:
            command = [sys.executable, __file__, "--here", str(threads), "--rounds", str(options.rounds)]
            environment = {**os.environ, **INSTRUCTIONS[kind]}
            with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    one = {"instructions": kind, "threads": threads, **json.loads(line)}
                    found.append(one)
                    if "row" in one:
                        show(one)
                    if options.output:
                        options.output.write_text(json.dumps(found, indent=1) + "\n")
            if process.returncode:
                raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    print(next(one["machine"] for one in found if "machine" in one))


def show(one: dict[str, Any]) -> None:
    (ours, first), (beside, second), *others = one["ms"].items()
    wanted = goal(one["row"], one["instructions"], one["threads"])
    said = "" if wanted is None else f"{wanted:.2f} {'reached' if one['ratio'] <= wanted else 'missed'}"
    rest = "; ".join(f"{name} {text}" for name, text in others)
    print(
        f"| {one['row']}: {ours}, {beside} | {one['instructions']}, {one['threads']} | {first} | {second} "
        f"| {one['ratio']:.2f} | {said} | {rest} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
