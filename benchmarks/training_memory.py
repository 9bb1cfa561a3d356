"""Memory that training takes on each GPU, by model and strategy: counted, not guessed.

    python benchmarks/training_memory.py table --processes 8
    python benchmarks/training_memory.py check internimage_t_1k_224 --batch 4

``table`` needs no memory itself: models are built without data.  Of weights and moments a process keeps what the two
processes of tests/test_distributed.py were found to keep; of gradients what the strategy defines.  Activations are the
distinct tensors that a forward pass in float32 keeps for the backward pass, counted one by one; bfloat16 takes about
half.  ``check`` compares such a count with the growth of this process (Linux) over a real forward pass.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import internimage

MODELS = {
    "internimage_t_1k_224": 224,
    "internimage_s_1k_224": 224,
    "internimage_b_1k_224": 224,
    "internimage_l_22kto1k_384": 384,
    "internimage_xl_22kto1k_384": 384,
    "internimage_h_22kto1k_384": 384,
    "internimage_g_22kto1k_512": 512,
}


def activations(model: nn.Module, images: Tensor) -> int:
    """Bytes of the distinct tensors that are kept for the backward pass, parameters and images left out."""
    known = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    known.add(images.untyped_storage()._cdata)
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in known:
            kept[storage] = tensor  # held, so that no later tensor takes its place in memory
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = model(images)
    del result
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def states(parameters: int, strategy: str, processes: int) -> float:
    """Bytes of weights, gradients, two moments and moving average that stay on each GPU, all in float32."""
    copies = 4 * parameters
    if strategy == "ddp":
        return 5 * copies
    if strategy == "deepspeed-zero1":  # whole weights, gradients and average; a slice of masters and moments
        return 3 * copies + 3 * copies / processes
    return (5 if strategy == "fsdp" else 6) * copies / processes


def table(options: argparse.Namespace) -> None:
    strategies = ("ddp", "deepspeed-zero1", "deepspeed-zero3", "fsdp")
    print(f"GiB on each of {options.processes} GPUs; activations of one image, float32\n")
    headings = ("model", "parameters", "image", *strategies, "an image", "an image, checkpointed")
    print(f"| {' | '.join(headings)} |")
    print(f"|---|{'---:|' * (len(headings) - 1)}")
    for name, size in MODELS.items():
        model: Any = internimage.create_model(name, device="meta").train()
        parameters = sum(parameter.numel() for parameter in model.parameters())
        cells = [name, f"{parameters / 1e6:.0f} M", str(size)]
        cells += [f"{states(parameters, strategy, options.processes) / 2**30:.1f}" for strategy in strategies]
        for checkpointing in (False, True):
            model.set_gradient_checkpointing(checkpointing)
            images = torch.zeros(2, 3, size, size, device="meta")
            cells.append(f"{activations(model, images) / 2 / 2**30:.2f}")
        print(f"| {' | '.join(cells)} |", flush=True)


def check(options: argparse.Namespace) -> None:
    model: Any = internimage.create_model(options.model).train()
    model.set_gradient_checkpointing(options.checkpointing)
    images = torch.randn(options.batch, 3, options.size, options.size)
    model(images[:2, :, :64, :64]).sum().backward()
    before = resident()
    result = model(images)
    grown = resident() - before
    del result
    counted = activations(model, images)
    print(
        f"{options.model}, {options.batch} images: counted {counted / 2**20:.0f} MiB, grew by {grown / 2**20:.0f} MiB"
    )


def resident() -> int:
    """Bytes of this process in main memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    tables = commands.add_parser("table", help="all models and strategies")
    tables.add_argument("--processes", type=int, default=8)
    tables.set_defaults(act=table)
    checks = commands.add_parser("check", help="the count against a real forward pass")
    checks.add_argument("model", nargs="?", default="internimage_t_1k_224")
    checks.add_argument("--batch", type=int, default=4)
    checks.add_argument("--size", type=int, default=224)
    checks.add_argument("--checkpointing", action="store_true")
    checks.set_defaults(act=check)
    options = parser.parse_args()
    options.act(options)


if __name__ == "__main__":
    main()
