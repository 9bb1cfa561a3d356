"""What a user waits for one picture: a model in PyTorch and as exported files, and how far results are apart.

    python benchmarks/deploy.py internimage_t_1k_224:224x224 mask_rcnn_internimage_t_fpn_1x_coco:800x1216 --threads 1 2

The network with what makes classes or objects of its outputs, without reading pictures.  Models of this package have
their weights, others random ones, whose scores are far enough from each other to have an order; each form in a process
of its own, all in turn; medians and ranges, and the peak memory of each process.  Of int8 there are classifiers and the
models of this package.  ``--sampling`` adds every way of sampling to the table.
"""

from __future__ import annotations

import argparse
import importlib.resources
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Options = dict[str, Any]
FORMS: dict[str, tuple[str, Options]] = {
    "PyTorch": ("model", {}),
    "PyTorch, compiled": ("model", {"compiled": True}),
    "PyTorch, bfloat16": ("model", {"dtype": "bfloat16"}),
    "ONNX Runtime, this package's kernels": ("functions.onnx", {}),
    "ONNX Runtime, functions taken apart": ("functions.onnx", {"own_operators": False}),
    "OpenVINO": ("openvino.xml", {}),
    "OpenVINO, bfloat16": ("bfloat16.xml", {}),
    "ONNX Runtime, int8, this package's kernels": ("int8.onnx", {}),
    "ONNX Runtime, int8, functions taken apart": ("int8.onnx", {"own_operators": False}),
}
SAMPLING: dict[str, tuple[str, Options]] = {
    "ONNX Runtime, GridSample": ("grid_sample.onnx", {}),
    "ONNX Runtime, gather": ("gather.onnx", {}),
    "OpenVINO, gather": ("gather.xml", {}),
}
LOUD = ("rpn.objectness.weight", "classifier.weight")  # random weights of 0.01 make all scores alike


@dataclass(frozen=True)
class Case:
    model: str
    height: int
    width: int

    @classmethod
    def of(cls, text: str) -> Case:
        name, size = text.rsplit(":", 1)
        height, width = map(int, size.split("x"))
        return cls(name, height, width)


def write_files(case: Case, folder: Path, sampling: bool) -> None:
    """In a process of its own, because tracing takes memory."""
    import onnx_ir as ir
    import torch

    import internimage as ii
    from internimage.contracts import task_export
    from internimage.description import ExportedDescription
    from internimage.exporting.low_precision import quantise, recorded_feeds
    from internimage.exporting.onnx_file import onnx_program, write_onnx
    from internimage.exporting.openvino_file import placed_openvino
    from internimage.images import FitPreprocessing, ImageSource
    from internimage.machine import describe_machine
    from internimage.recipes import get_recipe, packaged_models

    print(describe_machine(torch.device("cpu")), flush=True)
    torch.manual_seed(0)
    packaged = case.model in packaged_models(get_recipe(case.model).task)
    model: Any = ii.create_model(case.model, pretrained=packaged).eval()
    for name, weight in model.named_parameters():
        if name.endswith(LOUD) and not packaged:
            torch.nn.init.normal_(weight, std=0.3)
    before = model.description.preprocessing
    fitted = FitPreprocessing(case.height, case.width)
    seen = fitted if isinstance(before, FitPreprocessing) else before.resized(case.height)
    model.description = replace(model.description, preprocessing=seen)
    if getattr(model.config, "window", None) is not None:
        model.config = replace(model.config, window=None)
    ii.save_model(model, folder / "model")
    predictor = ii.Predictor(model, device="cpu")
    task = task_export(predictor.spec)
    assert task is not None
    description = ExportedDescription(predictor.spec.name, replace(model.description, config=asdict(model.config)))
    program = onnx_program(task.graph(model, None))
    write_onnx(program, description, folder / "functions.onnx", "deform_conv", plain=False)
    kept = ir.to_proto(program.model)
    for form in ("deform_conv", "grid_sample", "gather") if sampling else ("deform_conv", "grid_sample"):
        program.model = ir.from_proto(kept)
        write_onnx(program, description, folder / f"{form}.onnx", form, plain=True)
    placed_openvino(folder / "grid_sample.onnx", folder).rename(folder / "openvino.xml")
    (folder / "grid_sample.bin").rename(folder / "openvino.bin")
    (folder / "bfloat16.bin").hardlink_to(folder / "openvino.bin")
    asked = (folder / "openvino.xml").read_text()
    found, said = "&quot;precision&quot;: &quot;float32&quot;", "&quot;precision&quot;: &quot;bfloat16&quot;"
    assert found in asked
    (folder / "bfloat16.xml").write_text(asked.replace(found, said))
    if sampling:
        placed_openvino(folder / "gather.onnx", folder)
    if predictor.spec.name == "classification" or packaged:
        photos = [ImageSource(str(one), one) for one in pictures()]
        quantise(
            folder / "functions.onnx", folder / "int8.onnx", recorded_feeds(folder / "functions.onnx", task, photos)
        )


def pictures() -> list[Path]:
    demo = Path(str(importlib.resources.files("internimage"))) / "demo" / "photos"
    return sorted(demo.glob("*/*"))[:16]


def serve(form: str, file: Path, options: Options, threads: int, case: Case, pipe: Connection) -> None:
    """One form: a time and a result for each word, and the peak memory at the end."""
    from PIL import Image

    from internimage.images import ImageSource

    runner: Any
    if form.startswith("PyTorch"):
        import torch

        import internimage as ii

        torch.set_num_threads(threads)
        dtype = getattr(torch, options["dtype"]) if "dtype" in options else None
        runner = ii.Predictor(file, device="cpu", dtype=dtype)
        if options.get("compiled"):
            compiled = runner.model.backbone if hasattr(runner.model, "neck") else runner.model
            compiled.compile()
    else:
        from internimage.exporting.predictor import ExportedPredictor

        runner = ExportedPredictor(file, device="cpu", threads=threads, **options)
    source = ImageSource("picture", Image.open(pictures()[0]).convert("RGB").resize((case.width, case.height)))
    prepared = runner.pipeline.prepare(runner.pipeline.read(source))
    while pipe.recv():
        started = time.perf_counter()
        (result,) = runner.pipeline.predict([prepared], [source], [None])
        pipe.send((time.perf_counter() - started, result))
    pipe.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, None))


def measure(case: Case, folder: Path, forms: dict[str, tuple[str, Options]], threads: int, rounds: int) -> None:
    from internimage.contracts import task_export, task_spec
    from internimage.recipes import get_recipe

    spawn = multiprocessing.get_context("spawn")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    pipes: dict[str, Connection] = {}
    for form, (file, options) in forms.items():
        if (folder / file).exists():
            here, there = spawn.Pipe()
            args = (form, folder / file, options, threads, case, there)
            spawn.Process(target=serve, args=args, daemon=True).start()
            there.close()
            pipes[form] = here
    task = task_export(task_spec(get_recipe(case.model).task))
    assert task is not None
    times: dict[str, list[float]] = {form: [] for form in pipes}
    found: dict[str, Any] = {}
    for number in range(rounds + 1):
        for form, pipe in pipes.items():
            pipe.send(True)
            seconds, found[form] = pipe.recv()
            if number:  # the first warms up
                times[form].append(seconds * 1e3)
    print(f"\n{case.model}, {case.height}x{case.width}, {threads} thread{'s'[: threads > 1]}, {rounds} rounds")
    print("| form | ms, median (range) | peak memory, MiB | apart from PyTorch |\n|---|---:|---:|---|", flush=True)
    for form, own in times.items():
        pipes[form].send(False)
        memory = pipes[form].recv()[0] / 2**10
        apart = task.differences(found["PyTorch"], found[form])
        shown = ", ".join(f"{name} {value:.1e}" for name, value in apart.items() if value)
        print(
            f"| {form} | {statistics.median(own):.0f} ({min(own):.0f} to {max(own):.0f}) | {memory:.0f} | {shown} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", type=Case.of, metavar="MODEL:HxW")
    parser.add_argument("--threads", type=int, nargs="+", default=(1,))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sampling", action="store_true")
    parser.add_argument("--without", nargs="*", default=(), metavar="FORM")
    options = parser.parse_args()
    forms = {**FORMS, **(SAMPLING if options.sampling else {})}
    forms = {form: made for form, made in forms.items() if form not in options.without}
    spawn = multiprocessing.get_context("spawn")
    for case in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            writing = spawn.Process(target=write_files, args=(case, Path(folder), options.sampling))
            writing.start()
            writing.join()
            if writing.exitcode:
                raise SystemExit(f"{case.model} was not exported")
            for threads in options.threads:
                measure(case, Path(folder), forms, threads, options.rounds)


if __name__ == "__main__":
    main()
