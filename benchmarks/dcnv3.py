"""DCNv3 on this machine against the ``grid_sample`` formulation in common use.

    python benchmarks/dcnv3.py [--threads 1] [--rounds 15]

Prints a Markdown table of milliseconds, median (quartiles), forward and forward + backward, and the largest
difference of either from float64.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from timing import cell, compare, machine
from torch import Tensor

from internimage.ops import dcnv3
from internimage.ops.convolution_reference import convolution_reference
from internimage.ops.geometry import SamplingGeometry

LAYERS = {  # name: height, width, groups; 16 channels a group, kernel 3
    "T 224 stage 1": (56, 56, 4),
    "T 224 stage 2": (28, 28, 8),
    "T 224 stage 3": (14, 14, 16),
    "T 224 stage 4": (7, 7, 32),
    "T 800x1216 stage 1": (200, 304, 4),
    "T 800x1216 stage 2": (100, 152, 8),
}


def grid_sample_dcnv3(input: Tensor, offset: Tensor, mask: Tensor, groups: int) -> Tensor:
    """Kernel 3, stride 1, padding 1: normalised coordinates and one ``grid_sample`` over all points."""
    batch, height, width, channels = input.shape
    tap = torch.arange(-1, 2, dtype=input.dtype)
    tap_x, tap_y = tap.repeat_interleave(3), tap.repeat(3)
    offset = offset.view(batch, height, width, groups, 9, 2)
    x = torch.arange(width, dtype=input.dtype).view(1, 1, -1, 1, 1) + tap_x + offset[..., 0]
    y = torch.arange(height, dtype=input.dtype).view(1, -1, 1, 1, 1) + tap_y + offset[..., 1]
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), -1)
    grid = grid.permute(0, 3, 1, 2, 4, 5).reshape(batch * groups, height * width, 9, 2)
    image = input.permute(0, 3, 1, 2).reshape(batch * groups, channels // groups, height, width)
    sampled = F.grid_sample(image, grid, padding_mode="zeros", align_corners=False)
    weight = mask.view(batch, height * width, groups, 9).transpose(1, 2).reshape(batch * groups, 1, -1, 9)
    output = (sampled * weight).sum(-1)
    return output.view(batch, channels, height * width).transpose(1, 2).reshape(batch, height, width, channels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"{machine()}; ms, median (quartiles) of {options.rounds}\n")
    print("| layer | grid_sample F | ours F | grid_sample F+B | ours F+B | grid_sample error | ours error |")
    print("|---|---|---|---|---|---|---|")
    for name, (height, width, groups) in LAYERS.items():
        tensors = (
            torch.randn(1, height, width, groups * 16),
            torch.randn(1, height, width, groups * 18),
            torch.randn(1, height, width, groups * 9).unflatten(-1, (groups, 9)).softmax(-1).flatten(-2),
        )

        def ours(*t: Tensor, groups: int = groups) -> Tensor:
            return dcnv3(*t, groups=groups)

        def theirs(*t: Tensor, groups: int = groups) -> Tensor:
            return grid_sample_dcnv3(*t, groups)

        cotangent = torch.randn(1, height, width, groups * 16)

        def both(run, tensors=tensors, cotangent=cotangent) -> object:  # type: ignore[no-untyped-def]
            leaves = [t.clone().requires_grad_() for t in tensors]
            return torch.autograd.grad(run(*leaves), leaves, cotangent)

        with torch.no_grad():
            geometry = SamplingGeometry((3, 3), (1, 1), (1, 1), (1, 1), groups, 1.0, False)
            exact = convolution_reference(*(t.double() for t in tensors), geometry)
            errors = [(run(*tensors) - exact).abs().max().item() for run in (theirs, ours)]
            forward = compare(
                {"theirs": lambda: theirs(*tensors), "ours": lambda: ours(*tensors)},  # noqa: B023
                options.rounds,
            )
        backward = compare({"theirs": lambda: both(theirs), "ours": lambda: both(ours)}, options.rounds)
        print(
            f"| {name} | {cell(forward['theirs'])} | {cell(forward['ours'])} | {cell(backward['theirs'])} "
            f"| {cell(backward['ours'])} | {errors[0]:.1e} | {errors[1]:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
