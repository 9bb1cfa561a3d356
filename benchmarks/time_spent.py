"""Where the time of one forward pass goes: an operation's own time, the operator's with all it calls.

python benchmarks/time_spent.py [--model internimage_t_1k_224] [--dtype float32] [--threads 1]
"""

from __future__ import annotations

import argparse

import torch

import internimage
from internimage.machine import describe_machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="internimage_t_1k_224")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype)
    model, image = internimage.create_model(options.model, dtype=dtype), torch.randn(1, 3, 224, 224, dtype=dtype)
    with torch.inference_mode():
        model(image)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as run:
            for _ in range(5):
                model(image)
    events = run.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    print(describe_machine(torch.device("cpu")))
    for event in sorted(events, key=lambda event: -event.self_cpu_time_total)[:10]:
        print(f"{event.key:<28} {event.self_cpu_time_total / total:5.1%}  {event.self_cpu_time_total / 5e3:7.2f} ms")


if __name__ == "__main__":
    main()
