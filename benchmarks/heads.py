"""What convolutions by tiles save in whole models, and where that leaves them beside torchvision's, in one run.

    python benchmarks/heads.py --rounds 5 --threads 2
    python benchmarks/heads.py --layers --threads 1         # single convolutions, small ones among them

"Before" is the same model in the same process with its convolutions watched, which makes them PyTorch's own.  Random
weights; detectors are made to find a hundred objects.  Milliseconds, medians and quartiles, variants in turn.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from detection_stages import once, talkative
from torch import Tensor, nn

import internimage
from internimage.benchmark.timing import Timing, compare
from internimage.machine import describe_machine
from internimage.ops import conv2d

CPU = torch.device("cpu")
SIZE = 800, 1216
LAYERS = (  # batch, channels in and out, height, width
    *((1, 32, 32, side, side) for side in (16, 32, 64, 128)),
    *((1, 64, 64, side, side) for side in (16, 32, 64)),
    *((1, 128, 128, side, side) for side in (8, 16, 32, 64)),
    *((1, 256, 256, height, width) for height, width in ((7, 7), (13, 19), (25, 38), (50, 76), (100, 152), (200, 304))),
    (100, 256, 256, 14, 14),
    *((1, 512, 512, side, side) for side in (16, 32, 64, 128)),
    (1, 2048, 512, 128, 128),
    (1, 2816, 512, 16, 16),
)


def watched(model: Any) -> Any:
    """A model whose convolutions are PyTorch's own."""
    twin = copy.deepcopy(model)
    for module in twin.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, inputs, output: None)
    return twin


def detector(name: str) -> dict[str, Callable[[], Any]]:
    model = talkative(name, torch.float32)
    return {"tiles": lambda: once(model, SIZE, {}, {}), "before": partial(once, watched(model), SIZE, {}, {})}


def torchvision_detector() -> dict[str, Callable[[], Any]]:
    from torchvision.models.detection import maskrcnn_resnet50_fpn_v2

    model = maskrcnn_resnet50_fpn_v2(
        weights=None, weights_backbone=None, min_size=SIZE[0], max_size=SIZE[1], box_score_thresh=0.0
    ).eval()
    image = torch.rand(3, *SIZE)
    return {"torchvision's maskrcnn_resnet50_fpn_v2": lambda: model([image])}


def segmenter(name: str, side: int) -> dict[str, Callable[[], Any]]:
    model = internimage.create_model(name).eval()
    image = torch.randn(1, 3, side, side)
    return {"tiles": partial(model, image), "before": partial(watched(model), image)}


MODELS: dict[str, Callable[[], dict[str, Callable[[], Any]]]] = {
    "UperNet T 512": partial(segmenter, "upernet_internimage_t_512_160k_ade20k", 512),
    "Mask R-CNN T 800x1216": lambda: {**detector("mask_rcnn_internimage_t_fpn_3x_coco"), **torchvision_detector()},
    "DINO T 800x1216": partial(detector, "dino_4scale_internimage_t_1x_coco"),
}


@torch.inference_mode()
def measured(make: Callable[[], dict[str, Callable[[], Any]]], rounds: int) -> dict[str, Timing]:
    with torch.inference_mode(False):  # parameters of a model that may be trained
        variants = make()
    return compare(variants, rounds, CPU)


def row(name: str, times: dict[str, Timing]) -> None:
    ratio = times["tiles"].median / times["before"].median
    others = "".join(f" {other} {timing};" for other, timing in times.items() if other not in ("tiles", "before"))
    print(f"| {name} | {times['before']} | {times['tiles']} | {ratio:.2f} |{others}", flush=True)


def layer(batch: int, inputs: int, outputs: int, height: int, width: int) -> dict[str, Callable[[], Tensor]]:
    one = nn.Conv2d(inputs, outputs, 3, padding=1)
    x = torch.randn(batch, inputs, height, width).contiguous(memory_format=torch.channels_last)
    return {"tiles": partial(conv2d, one, x), "before": partial(one, x)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(describe_machine(CPU))
    print("| | before | tiles | ratio | others\n|---|---:|---:|---:|---|")
    if options.layers:
        for shape in LAYERS:
            row("x".join(map(str, shape)), measured(partial(layer, *shape), options.rounds))
        return
    for name, make in MODELS.items():
        row(name, measured(make, options.rounds))


if __name__ == "__main__":
    main()
