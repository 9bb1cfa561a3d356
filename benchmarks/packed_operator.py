"""InternImage on its own operator and on DCNv4's, with the same weights, in alternation.

python benchmarks/packed_operator.py --model internimage_t_1k_224 --rounds 9
"""

from __future__ import annotations

import argparse

import torch

import internimage
from internimage.benchmark.timing import compare, measuring
from internimage.machine import describe_machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="internimage_t_1k_224")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with measuring("cpu", None) as device, torch.inference_mode():
        print(describe_machine(device))
        for dtype in (torch.float32, torch.bfloat16):
            images = torch.randn(1, 3, options.size, options.size, dtype=dtype)
            own = internimage.create_model(options.model, dtype=dtype)
            packed = internimage.create_model(options.model, operator="dcnv4", dtype=dtype)
            runs = {"own": lambda own=own, images=images: own(images)}
            runs["dcnv4"] = lambda packed=packed, images=images: packed(images)
            print(dtype, {name: str(timing) for name, timing in compare(runs, options.rounds, device).items()})


if __name__ == "__main__":
    main()
