"""Image classifiers on this machine, ours and a peer of timm of the same cost.

    pip install timm
    python benchmarks/classifier.py [--threads 1] [--rounds 9]

Prints a Markdown table of milliseconds a forward pass in float32, median (quartiles).
"""

from __future__ import annotations

import argparse

import torch
from timing import cell, compare, machine

import internimage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    import timm

    torch.set_num_threads(options.threads)
    models = {
        "internimage_atto": internimage.create_model("internimage_atto"),
        "internimage_pico": internimage.create_model("internimage_pico"),
        "internimage_t_1k_224": internimage.create_model("internimage_t_1k_224"),
        "timm convnext_tiny": timm.create_model("convnext_tiny").eval(),
    }
    print(f"{machine()}; timm {timm.__version__}; ms, median (quartiles) of {options.rounds}\n")
    print("| batch x size | " + " | ".join(models) + " |")
    print("|---" * (len(models) + 1) + "|")
    for batch, size in ((1, 224), (8, 224), (1, 512)):
        images = torch.randn(batch, 3, size, size)
        with torch.inference_mode():
            runs = {name: (lambda model=model, images=images: model(images)) for name, model in models.items()}
            results = compare(runs, options.rounds)
        print(f"| {batch} x {size} | " + " | ".join(cell(results[name]) for name in models) + " |", flush=True)


if __name__ == "__main__":
    main()
