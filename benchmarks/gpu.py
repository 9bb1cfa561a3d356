"""Everything that only a GPU can show, in eight minutes on one card: right numbers first, then speed and memory.

    python benchmarks/gpu.py --output benchmarks/results/gpu.json
    python benchmarks/gpu.py --only kernels operators
    python benchmarks/gpu.py --rehearse            # on a CPU, small: whether the script itself is whole

Parts, most important first; what no time is left for is named.  A part that fails says why and the others go on; the
exit status is 1 then.  The output is written after each part.  Weights are random; Mask R-CNN's classifier is made to
find a hundred objects.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from detection_stages import find_many
from torch import Tensor, nn

import internimage
from internimage.benchmark.operators import Operator, Problem, benchmark_operator, layers_of, make_problem
from internimage.benchmark.timing import compare, measure_limits
from internimage.machine import describe_machine

HALVES = {torch.float32: 2e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}
"""How far results may be off, in units of the largest: sums in another order, and one rounding."""
CLASSIFIER = "internimage_t_1k_224"
PREDICTORS = (
    CLASSIFIER,
    "mask_rcnn_internimage_t_fpn_3x_coco",
    "dino_4scale_internimage_t_1x_coco",
    "upernet_internimage_t_512_160k_ade20k",
)


@dataclass(frozen=True)
class Setting:
    """Where the parts run, and whether small and short, on whatever is there."""

    device: torch.device
    rehearsal: bool
    end: float

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()

    @property
    def rounds(self) -> int:
        return 1 if self.rehearsal else 5

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        return (torch.float32, torch.bfloat16) if self.rehearsal else tuple(HALVES)

    def peak(self) -> float | None:
        """MiB that were in use at most since the last call; None on a CPU."""
        if self.device.type != "cuda":
            return None
        found = torch.cuda.max_memory_allocated(self.device) / 2**20
        torch.cuda.reset_peak_memory_stats(self.device)
        return round(found, 1)


class WrongError(Exception):
    """A number that is not what it has to be."""


def expect(right: bool, what: str) -> None:
    if not right:
        raise WrongError(what)


def problems(setting: Setting, dtype: torch.dtype) -> Iterator[tuple[Operator, Problem]]:
    for operator in get_args(Operator):
        chosen = layers_of(operator)
        for layer in chosen[len(chosen) // 2 :][:1] if setting.rehearsal else chosen:
            yield operator, make_problem(operator, layer, dtype, setting.device)


def gradients(problem: Problem, tensors: tuple[Tensor, ...], cotangent: Tensor | None = None) -> tuple[Tensor, ...]:
    """The output and the gradients of all tensors."""
    leaves = [one.detach().clone().requires_grad_() for one in tensors]
    output = problem.ours(*leaves)
    cotangent = torch.ones_like(output) if cotangent is None else cotangent.to(output)
    return output.detach(), *torch.autograd.grad(output, leaves, cotangent)


# ---- parts -----------------------------------------------------------------------------------------------------------


def kernels(setting: Setting) -> dict[str, Any]:
    """The operators' own tests of the Triton kernels, on the card."""
    tests = Path(__file__).parents[1] / "tests" / "test_triton.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    done = subprocess.run(command, cwd=tests.parents[1], capture_output=True, text=True, timeout=max(1, setting.left))
    expect(done.returncode == 0, done.stdout[-2000:] + done.stderr[-500:])
    return {"tests": done.stdout.strip().splitlines()[-1]}


def layers(setting: Setting) -> dict[str, Any]:
    """Outputs and gradients on the layers of real networks in each precision, against float64."""
    found = {}
    for dtype in setting.dtypes:
        for operator, problem in problems(setting, dtype):
            generator = torch.Generator().manual_seed(1)
            shape = problem.ours(*problem.tensors).shape
            cotangent = torch.randn(shape, generator=generator).to(setting.device, dtype)
            ours = gradients(problem, problem.tensors, cotangent)
            exact = gradients(problem, tuple(one.double() for one in problem.tensors), cotangent)
            errors = [
                float((one.double() - truth).abs().max() / truth.abs().max())
                for one, truth in zip(ours, exact, strict=True)
            ]
            name = f"{operator}, {problem.name}, {str(dtype).removeprefix('torch.')}"
            found[name] = errors
            expect(max(errors) <= 4 * HALVES[dtype], f"{name}: {errors}")
    return {"errors of output and gradients": found}


def repeats(setting: Setting) -> dict[str, Any]:
    """1,000 calls: the same bits forward; backward, where sums have no order, as near as rounding."""
    worst = 0.0
    count = 10 if setting.rehearsal else 1_000
    for operator, problem in problems(setting, torch.float32):
        if "800" in problem.name:
            continue
        first = gradients(problem, problem.tensors)
        for _ in range(count):
            again = gradients(problem, problem.tensors)
            expect(torch.equal(first[0], again[0]), f"{operator}, {problem.name}: another output")
            off = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(again[1:], first[1:], strict=True))
            worst = max(worst, off)
    expect(worst <= 1e-5, f"gradients differ by {worst}")
    return {"calls": count, "gradients differ by": worst}


def second_device(setting: Setting) -> dict[str, Any]:
    """Tensors of a card that is not the current one."""
    if setting.device.type != "cuda" or torch.cuda.device_count() < 2:
        return {"left out": "there is one device"}
    with torch.cuda.device(0):
        for operator, problem in problems(setting, torch.float32):
            there = tuple(one.to("cuda:1") for one in problem.tensors)
            ours = gradients(problem, there)
            for one, other in zip(ours, gradients(problem, problem.tensors), strict=True):
                expect(one.device == torch.device("cuda:1"), f"{operator}: a result on {one.device}")
                expect(torch.allclose(one.cpu(), other.cpu(), rtol=1e-4, atol=1e-4), f"{operator}: other numbers")
    return {"devices": torch.cuda.device_count()}


def operators(setting: Setting) -> dict[str, Any]:
    """Times beside the plain formulation's, and the share of the memory's speed that is reached."""
    found = {}
    for dtype in setting.dtypes[:2]:
        limits = measure_limits(dtype, setting.device) if not setting.rehearsal else None
        for operator in get_args(Operator):
            for result in benchmark_operator(operator, dtype, setting.device, setting.rounds):
                name = f"{operator}, {result.layer}, {str(dtype).removeprefix('torch.')}"
                share = None if limits is None else result.forward.gb_per_s / limits.gb_per_s
                found[name] = {
                    "forward ms": result.forward.ours.median,
                    "forward times plain": result.forward.speedup,
                    "share of the memory's speed": share,
                    "both ms": result.forward_backward.ours.median,
                    "both times plain": result.forward_backward.speedup,
                }
                print(f"  {name}: {result.forward.ours} ms, {result.forward.speedup:.1f}x plain")
                if setting.rehearsal:
                    break
    return found


def forms(setting: Setting) -> dict[str, Any]:
    """The classifier as it is, compiled, and as a CUDA graph: the same numbers, and how fast."""
    found: dict[str, Any] = {}
    for dtype in setting.dtypes[:2]:
        model = internimage.create_model(CLASSIFIER, device=setting.device, dtype=dtype).eval()
        size = 64 if setting.rehearsal else 224
        images = torch.randn(1 if setting.rehearsal else 32, 3, size, size, device=setting.device, dtype=dtype)
        with torch.inference_mode():
            plain = model(images).float()
            compiled = torch.compile(copy.deepcopy(model), backend="eager" if setting.rehearsal else "inductor")
            variants: dict[str, Callable[[], Any]] = {
                "eager": partial(model, images),
                "compiled": partial(compiled, images),
            }
            if setting.device.type == "cuda":
                variants["graph"] = graphed(model, images)
            for name, run in variants.items():
                off = float((run().float() - plain).abs().max() / plain.abs().max())
                expect(off <= (1e-3 if dtype == torch.float32 else 5e-2), f"{name}, {dtype}: off by {off}")
                found[f"{name}, {dtype}, off by"] = off
            for name, timing in compare(variants, setting.rounds, setting.device).items():
                found[f"{name}, {dtype}, pictures a second"] = len(images) / timing.median * 1e3
    return found


def graphed(model: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    """A forward pass as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # kernels are compiled and timed outside the capture
        for _ in range(3):
            model(images)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = model(images)

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay


def training(setting: Setting) -> dict[str, Any]:
    """Steps in float32, bfloat16 and float16 with a scaler: losses that fall, times, memory."""
    found: dict[str, Any] = {}
    size, batch, steps = (64, 2, 3) if setting.rehearsal else (224, 64, 12)
    images = torch.randn(batch, 3, size, size, device=setting.device)
    labels = torch.arange(batch, device=setting.device) % 10
    for dtype in setting.dtypes:
        torch.manual_seed(0)
        model: Any = internimage.create_model(CLASSIFIER, num_classes=10, device=setting.device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
        scaler = torch.amp.GradScaler(setting.device.type, enabled=dtype == torch.float16)
        setting.peak()
        losses: list[float] = []
        skipped, begun = 0, 0.0
        for step in range(steps):
            if step == 2:
                begun = now(setting)
            with torch.autocast(setting.device.type, dtype, enabled=dtype != torch.float32):
                loss = sum(model.losses(images, labels).values())
            assert isinstance(loss, Tensor)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            before = scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            skipped += scaler.get_scale() < before
            losses.append(float(loss.detach()))
        taken = (now(setting) - begun) / max(1, steps - 2)
        expect(all(np.isfinite(losses)), f"{dtype}: losses {losses}")
        expect(setting.rehearsal or losses[-1] < losses[0], f"{dtype}: losses {losses}")
        found[str(dtype)] = {
            "losses": [losses[0], losses[-1]],
            "pictures a second": batch / taken,
            "steps left out": skipped,
            "peak MiB": setting.peak(),
        }
        print(f"  {dtype}: {found[str(dtype)]}")
    return found


def sharded(setting: Setting) -> dict[str, Any]:
    """Three steps of a model that FSDP2 shards over one process, against the same without."""
    from torch.distributed import destroy_process_group, init_process_group
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    size = 64 if setting.rehearsal else 224
    images = torch.randn(2, 3, size, size, device=setting.device)
    labels = torch.tensor([0, 1], device=setting.device)

    def steps(shard: bool) -> list[float]:
        torch.manual_seed(0)
        model: Any = internimage.create_model("internimage_atto_clothing_128", num_classes=2, device=setting.device)
        if shard:
            model.to(memory_format=torch.contiguous_format)  # as the trainer does: others are not divided
            mesh = init_device_mesh(setting.device.type, (1,))
            for module in model.shardable():
                fully_shard(module, mesh=mesh)
            fully_shard(model, mesh=mesh)
            register_fsdp_forward_method(model, "losses")
        optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3)
        losses = []
        for _ in range(3):
            torch.manual_seed(1)
            loss: Any = sum(model.losses(images, labels).values())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
        return losses

    with tempfile.TemporaryDirectory() as folder:
        backend = "nccl" if setting.device.type == "cuda" else "gloo"
        init_process_group(backend, init_method=f"file://{folder}/meet", rank=0, world_size=1)
        try:
            whole, parts = steps(False), steps(True)
        finally:
            destroy_process_group()
    expect(np.allclose(whole, parts, rtol=1e-4), f"whole {whole}, sharded {parts}")
    return {"losses": whole, "sharded": parts}


def loading(setting: Setting) -> dict[str, Any]:
    """Batches from ordinary and from page-locked memory to the card."""
    if setting.device.type != "cuda":
        return {"left out": "there is no card"}
    batch = torch.randn(64, 3, 224, 224)
    pinned = batch.pin_memory()
    expect(pinned.is_pinned(), "the batch is not page-locked")
    variants = {
        "ordinary": lambda: batch.to(setting.device),
        "page-locked": lambda: pinned.to(setting.device, non_blocking=True),
    }
    times = compare(variants, setting.rounds, setting.device)
    return {f"{name}, GB/s": batch.nbytes / timing.median / 1e6 for name, timing in times.items()}


def predictors(setting: Setting) -> dict[str, Any]:
    """Pictures a second of whole predictors, pictures in memory to results, and the memory that it takes."""
    found: dict[str, Any] = {}
    random = np.random.default_rng(0)
    for name in PREDICTORS[:1] if setting.rehearsal else PREDICTORS:
        pictures = [random.integers(0, 256, (480, 640, 3), np.uint8) for _ in range(2 if setting.rehearsal else 32)]
        for dtype in (torch.float32, torch.bfloat16):
            for compiled in (False, True) if dtype == torch.bfloat16 and not setting.rehearsal else (False,):
                if setting.left < (90 if compiled else 30):
                    found[f"{name}, {dtype}, {'compiled' if compiled else 'eager'}"] = "no time was left"
                    continue
                setting.peak()
                model = internimage.create_model(name, device=setting.device, dtype=dtype)
                find_many(model)
                predict = internimage.Predictor(model, batch_size=8)
                if compiled:
                    getattr(predict.model, "backbone", predict.model).compile()
                predict(pictures[:8])
                begun = now(setting)
                predict(pictures)
                row = {"pictures a second": len(pictures) / (now(setting) - begun), "peak MiB": setting.peak()}
                found[f"{name}, {dtype}, {'compiled' if compiled else 'eager'}"] = row
                print(f"  {name}, {dtype}, {'compiled' if compiled else 'eager'}: {row}")
                del model, predict
                gc.collect()
    return found


def now(setting: Setting) -> float:
    """Seconds, all work done."""
    if setting.device.type == "cuda":
        torch.cuda.synchronize(setting.device)
    return time.perf_counter()


PARTS: dict[str, Callable[[Setting], dict[str, Any]]] = {
    one.__name__: one
    for one in (kernels, layers, repeats, second_device, training, operators, forms, sharded, predictors, loading)
}


@contextmanager
def told(name: str, rows: dict[str, Any]) -> Iterator[None]:
    begun = time.monotonic()
    print(f"{name} ...", flush=True)
    try:
        yield
    except Exception as error:  # one part must not cost the others
        said = str(error) if isinstance(error, WrongError) else traceback.format_exc()
        rows[name] = {"failed": said}
        print(f"  FAILED: {said}")
    print(f"  {time.monotonic() - begun:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    if not options.rehearse and not torch.cuda.is_available():
        sys.exit("there is no GPU here; --rehearse runs small on a CPU")
    device = torch.device("cuda:0" if torch.cuda.is_available() and not options.rehearse else "cpu")
    setting = Setting(device, options.rehearse, time.monotonic() + 60 * options.minutes)
    rows: dict[str, Any] = {"machine": vars(describe_machine(device)), "rehearsal": options.rehearse}
    print(describe_machine(device))
    for name in options.only:
        with told(name, rows):
            rows[name] = PARTS[name](setting) if setting.left > 10 else {"left out": "no time was left"}
        if options.output:
            options.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    failed = [name for name in options.only if "failed" in rows[name]]
    print(f"failed: {', '.join(failed)}" if failed else "all parts are right")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
