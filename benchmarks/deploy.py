"""The network of a classifier in PyTorch and as exported files: CPU time of one picture, and how far results are apart.

    OMP_NUM_THREADS=1 python benchmarks/deploy.py --model internimage_t_1k_224 --sizes 224 512

Random weights, float32, rounds of all forms in turn; medians and ranges.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

import internimage
from internimage.contracts import task_export, task_spec
from internimage.description import ExportedDescription
from internimage.exporting.onnx_file import onnx_program, write_onnx
from internimage.exporting.openvino_file import placed_openvino
from internimage.exporting.operators import Sampling
from internimage.exporting.runtimes import open_exported
from internimage.machine import describe_machine

Array = np.ndarray[Any, Any]
FORMS: tuple[Sampling, ...] = ("deform_conv", "grid_sample", "gather")


def forms(model: Any, folder: Path) -> dict[str, Callable[[Array], Array]]:
    """What runs the model, by name."""
    export = task_export(task_spec("classification"))
    assert export is not None
    description = ExportedDescription("classification", replace(model.description, config=asdict(model.config)))
    started = time.process_time()
    program = onnx_program(export.graph(model))
    print(f"tracing: {time.process_time() - started:.0f} s of CPU")

    def eager(images: Array) -> Array:
        with torch.inference_mode():
            found: Array = model(torch.from_numpy(images)).numpy()
        return found

    runs: dict[str, Callable[[Array], Array]] = {"PyTorch, this package's operators": eager}
    whole = folder / "own.onnx"
    write_onnx(program, description, whole, "deform_conv", plain=False)
    for name, own in (("this package's kernels", True), ("functions taken apart", False)):
        runs[f"ONNX Runtime, {name}"] = session(whole, own_operators=own)
    kept = ir.to_proto(program.model)
    for sampling in FORMS:
        program.model = ir.from_proto(kept)
        file = folder / f"{sampling}.onnx"
        write_onnx(program, description, file, sampling, plain=True)
        runs[f"ONNX Runtime, {sampling}"] = session(file)
        if sampling != "deform_conv":  # which OpenVINO does not convert
            (folder / sampling).mkdir()
            runs[f"OpenVINO, {sampling}"] = session(placed_openvino(file, folder / sampling))
    return runs


def session(file: Path, *, own_operators: bool = True) -> Callable[[Array], Array]:
    run = open_exported(file, device="cpu", own_operators=own_operators, threads=torch.get_num_threads()).run
    return lambda images: run({"images": images})["logits"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="internimage_t_1k_224")
    parser.add_argument("--sizes", type=int, nargs="+", default=(224, 512))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.manual_seed(0)
    print(describe_machine(torch.device("cpu")))
    with tempfile.TemporaryDirectory() as folder:
        runs = forms(internimage.create_model(options.model).eval(), Path(folder))
        for size in options.sizes:
            images = np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)
            times: dict[str, list[float]] = {name: [] for name in runs}
            found = {}
            for number in range(options.rounds + 1):
                for name, run in runs.items():
                    started = time.process_time()
                    found[name] = run(images)
                    if number:  # the first warms up
                        times[name].append((time.process_time() - started) * 1e3)
            exact = next(iter(found.values()))
            print(
                f"\n{size}x{size}\n| form | ms of CPU, median (range) | logits apart, of their range |\n|---|---:|---:|"
            )
            for name, own in times.items():
                apart = np.abs(found[name] - exact).max() / np.abs(exact).max()
                print(f"| {name} | {statistics.median(own):.0f} ({min(own):.0f} to {max(own):.0f}) | {apart:.1e} |")


if __name__ == "__main__":
    main()
