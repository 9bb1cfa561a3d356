"""Where a detector's time and memory go, at the size of the released evaluation.

    python benchmarks/detection_stages.py --rounds 5
    python benchmarks/detection_stages.py --model dino_4scale_internimage_t_1x_coco --rounds 5
    python benchmarks/detection_stages.py --model dino_4scale_cbinternimage_h_objects365_coco --size 1000 2000 \\
        --dtype bfloat16 --rounds 1

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
from internimage.layers.rcnn.detections import detect_masks
from internimage.machine import describe_machine
from internimage.models.dino import DINO
from internimage.models.mask_rcnn import MaskRCNN
from internimage.registry import ARCHITECTURES, resolve
from internimage.results.pasting import paste_mask
from internimage.structures.batching import padded
from internimage.structures.detection import RawDetections

ORIGINAL = 426, 640


def talkative(name: str, dtype: torch.dtype) -> MaskRCNN | DINO:
    torch.manual_seed(0)
    recipe = internimage.get_recipe(name)
    with torch.device("meta"):  # no copy in float32 on the way
        model = resolve(ARCHITECTURES[recipe.architecture].model)(recipe.config)
    model = model.to(dtype).to_empty(device="cpu").eval()
    with torch.no_grad():
        for module_name, parameter in model.named_parameters():
            norm = parameter.ndim == 1 and module_name.endswith("weight")
            parameter.fill_(1.0) if norm else parameter.normal_(std=0.02)
        for buffer in model.buffers():
            buffer.fill_(1)
    assert isinstance(model, MaskRCNN | DINO)
    find_many(model)
    return model


def find_many(model: object) -> None:
    """Random classifiers find nothing that is worth a mask; this one's finds as many objects as are ever reported."""
    if isinstance(model, MaskRCNN):
        torch.nn.init.normal_(model.box_head.classifier.weight, std=0.3)


def timed(times: dict[str, list[float]], memory: dict[str, float], stage: str, run: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    result = run()
    times.setdefault(stage, []).append((time.perf_counter() - started) * 1e3)
    memory[stage] = memory.get(stage) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return result


@torch.inference_mode()
def once(model: MaskRCNN | DINO, size: tuple[int, int], times: dict[str, list[float]], memory: dict[str, float]) -> int:
    height, width = size
    images = torch.randn(1, 3, padded(height), padded(width)).to(next(model.parameters()).dtype)
    sizes, scales = [(height, width - 15)], torch.tensor([[width / ORIGINAL[1], height / ORIGINAL[0]] * 2])
    maps = timed(times, memory, "backbone", lambda: model.backbone(images))
    if isinstance(model, DINO):
        pixels = timed(times, memory, "neck and encoder", lambda: model.encode(maps, sizes, images.shape[2:]))
        boxes = timed(times, memory, "proposals", lambda: model.propose(pixels).boxes)
        last = timed(times, memory, "decoder", lambda: model.decode(pixels, boxes))
        found = timed(
            times, memory, "choice", lambda: model.postprocess(last.logits[0], last.boxes[0], sizes[0], scales[0])
        )
        return len(found.boxes)
    strides = model.rpn.strides[:-1]
    maps = timed(times, memory, "feature pyramid", lambda: model.neck(maps))
    outputs = timed(times, memory, "proposals: network", lambda: model.rpn(maps))
    proposals = timed(
        times, memory, "proposals: choice", lambda: model.rpn.propose(outputs, sizes, model.config.proposals)
    )
    boxes = [found for found, _ in proposals]
    found = timed(times, memory, "boxes", lambda: model.detect_boxes(maps, boxes, sizes, scales))
    heads = [] if model.mask_head is None else [model.mask_head]
    found = timed(times, memory, "masks", lambda: detect_masks(heads, maps[:-1], strides, found, scales))
    timed(times, memory, "masks in the picture", lambda: paste(found[0]))
    return len(found[0].boxes)


def paste(found: RawDetections) -> None:
    assert found.masks is not None
    for mask, box in zip(found.masks.float().numpy(), found.boxes.float().numpy(), strict=True):
        paste_mask(mask, box, ORIGINAL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mask_rcnn_internimage_t_fpn_3x_coco")
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1216))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(describe_machine(torch.device("cpu")))
    model = talkative(options.model, getattr(torch, options.dtype))
    times: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    size = options.size[0], options.size[1]
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    once(model, size, {}, memory)  # the first pass shows where memory grows, the later ones where time goes
    objects = [once(model, size, times, memory) for _ in range(options.rounds)]
    whole = sum(statistics.median(values) for values in times.values())
    print(f"{options.model}, {size[0]}x{size[1]}, {options.dtype}, {objects[0]} objects, {options.rounds} rounds")
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
