"""Image classifiers on this machine, ours and a peer of timm of the same cost.

    pip install timm
    python benchmarks/classifier.py [--threads 1] [--rounds 9]
    python benchmarks/classifier.py --profile

Prints a Markdown table of milliseconds a forward pass in float32, median (quartiles); with ``--profile`` instead the
shares of time that InternImage-T spends in each kind of operation on one image of 224 pixels.
"""

from __future__ import annotations

import argparse

import torch
from timing import cell, compare, machine

import internimage


def profile(threads: int) -> None:
    """Print where the time of one forward pass goes; an operation's own time, the operator's with all it calls."""
    torch.set_num_threads(threads)
    model, image = internimage.create_model("internimage_t_1k_224"), torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        model(image)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as run:
            for _ in range(5):
                model(image)
    events = {event.key: event for event in run.key_averages()}
    total = sum(event.self_cpu_time_total for event in events.values())
    print(machine())
    print(f"internimage::dcnv3 with all it calls: {events['internimage::dcnv3'].cpu_time_total / total:.0%}")
    for event in sorted(events.values(), key=lambda event: -event.self_cpu_time_total)[:10]:
        print(f"{event.key}: {event.self_cpu_time_total / total:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    if options.profile:
        profile(options.threads)
        return
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
