"""Where a detector's time and memory go, at the size of the released evaluation.

    python benchmarks/detection_stages.py --rounds 5

Weights are random, but for the classifier, which is made to find a hundred objects: as many as are ever reported.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import internimage
from internimage.layers.detection import detect_masks
from internimage.layers.roi_heads import paste_masks
from internimage.machine import describe_machine
from internimage.models.mask_rcnn import MaskRCNN

HEIGHT, WIDTH, ORIGINAL = 800, 1216, (426, 640)


def talkative(name: str) -> MaskRCNN:
    torch.manual_seed(0)
    model = internimage.create_model(name)
    assert isinstance(model, MaskRCNN)
    torch.nn.init.normal_(model.box_head.classifier.weight, std=0.3)
    return model


def timed(times: dict[str, list[float]], memory: dict[str, float], stage: str, run: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    result = run()
    times.setdefault(stage, []).append((time.perf_counter() - started) * 1e3)
    memory[stage] = memory.get(stage) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return result


@torch.inference_mode()
def once(model: MaskRCNN, times: dict[str, list[float]], memory: dict[str, float]) -> int:
    images, sizes = torch.randn(1, 3, HEIGHT, WIDTH), [(HEIGHT, WIDTH - 15)]
    scales = torch.tensor([[WIDTH / ORIGINAL[1], HEIGHT / ORIGINAL[0]] * 2])
    strides = model.rpn.strides[:-1]
    maps = timed(times, memory, "backbone", lambda: model.backbone(images))
    maps = timed(times, memory, "feature pyramid", lambda: model.neck(maps))
    outputs = timed(times, memory, "proposals: network", lambda: model.rpn(maps))
    proposals = timed(
        times, memory, "proposals: choice", lambda: model.rpn.propose(outputs, sizes, model.config.proposals)
    )
    boxes = [found for found, _ in proposals]
    found = timed(times, memory, "boxes", lambda: model.detect_boxes(maps, boxes, sizes, scales))
    found = timed(times, memory, "masks", lambda: detect_masks([model.mask_head], maps[:-1], strides, found, scales))
    timed(times, memory, "masks in the picture", lambda: paste_masks(found[0].masks, found[0].boxes, ORIGINAL))
    return len(found[0].boxes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mask_rcnn_internimage_t_fpn_3x_coco")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(describe_machine(torch.device("cpu")))
    model, times, memory = talkative(options.model), {}, {}
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    once(model, {}, memory)  # the first pass shows where memory grows, the later ones where time goes
    objects = [once(model, times, memory) for _ in range(options.rounds)]
    whole = sum(statistics.median(values) for values in times.values())
    print(f"{options.model}, 1x3x{HEIGHT}x{WIDTH}, {objects[0]} objects, {options.rounds} rounds")
    print(f"peak memory with the model loaded: {loaded:.0f} MiB")
    print("| stage | ms, median (range) | share | peak memory so far, MiB |\n|---|---:|---:|---:|")
    for stage, values in times.items():
        median = statistics.median(values)
        print(
            f"| {stage} | {median:.0f} ({min(values):.0f} to {max(values):.0f}) | {median / whole:.1%} "
            f"| {memory[stage]:.0f} |"
        )
    print(f"| all | {whole:.0f} | | |")


if __name__ == "__main__":
    main()
