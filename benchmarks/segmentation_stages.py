"""Where a segmenter's time and memory go: backbone, head, and the way to a class for every pixel of the picture.

    python benchmarks/segmentation_stages.py --rounds 5
    python benchmarks/segmentation_stages.py --model upernet_internimage_t_512x1024_160k_cityscapes \\
        --size 1024 2048 --window 512 1024 --stride 341 683 --rounds 3

Weights are random.  Each call measures one model at one size in a process of its own, so that the peak is its own.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import internimage
from internimage.images import ImageSource
from internimage.machine import describe_machine
from internimage.models.mask2former import Mask2Former, class_scores
from internimage.settings.views import Window
from internimage.tasks.segmentation.views import View, decode


def head(model: Any, maps: list[Tensor]) -> Tensor:
    return class_scores(model.predict_masks(maps)[-1]) if isinstance(model, Mask2Former) else model.logits(maps)


@torch.inference_mode()
def once(model: Any, size: tuple[int, int], window: Window | None, times: dict[str, list[float]]) -> None:
    """One picture, its parts one after the other; the picture has the network's size."""
    image = torch.randn(1, 3, *size)
    spent = dict.fromkeys(("backbone", "head", "classes of pixels"), 0.0)

    def timed(stage: str, run: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        result = run(*arguments)
        spent[stage] += (time.perf_counter() - started) * 1e3
        return result

    parts = []
    for part in window.parts(*size) if window else [(0, 0, *size)]:
        top, left, bottom, right = part
        maps = timed("backbone", model.backbone, image[..., top:bottom, left:right])
        parts.append((part, timed("head", head, model, maps)[0].float()))
    names = tuple(map(str, range(model.config.num_classes)))
    source = ImageSource("noise", np.zeros((1, 1), np.uint8))
    timed("classes of pixels", decode, [View(tuple(parts), size)], size, source, names, None)
    for stage, milliseconds in spent.items():
        times.setdefault(stage, []).append(milliseconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="upernet_internimage_t_512_160k_ade20k")
    parser.add_argument("--size", type=int, nargs=2, default=(512, 512))
    parser.add_argument("--window", type=int, nargs=2)
    parser.add_argument("--stride", type=int, nargs=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    window = Window(tuple(options.window), tuple(options.stride or options.window)) if options.window else None
    model: Any = internimage.create_model(options.model)
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    times: dict[str, list[float]] = {}
    once(model, tuple(options.size), window, {})
    for _ in range(options.rounds):
        once(model, tuple(options.size), window, times)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    whole = sum(statistics.median(values) for values in times.values())
    seen = f"windows of {options.window}" if window else "whole"
    print(describe_machine(torch.device("cpu")))
    print(f"{options.model}, {options.size[0]}x{options.size[1]}, {seen}, {options.rounds} rounds")
    print(f"peak memory {peak:.0f} MiB, {loaded:.0f} MiB with the model loaded")
    print("| stage | ms, median (range) | share |\n|---|---:|---:|")
    for stage, values in times.items():
        median = statistics.median(values)
        print(f"| {stage} | {median:.0f} ({min(values):.0f} to {max(values):.0f}) | {median / whole:.1%} |")
    print(f"| all | {whole:.0f} | |")


if __name__ == "__main__":
    main()
