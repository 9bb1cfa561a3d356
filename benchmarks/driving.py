"""Where a BEVFormer's time and memory go on a CPU, and what its attention to cameras costs with plain PyTorch.

    python benchmarks/driving.py --model bevformer_tiny
    python benchmarks/driving.py --model bevformer_base --rounds 3
    python benchmarks/driving.py --model bevformer_tiny --size 480 --cameras 6 --no-plain

Weights and pictures are random, cameras stand as nuScenes has them.  The second frame of a drive is measured, with a
history.  A stage's time is that of all its layers.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import internimage
from internimage.driving.bev import spatial_attention
from internimage.driving.bev.inputs import Views
from internimage.driving.geometry.motion import CAN_BUS
from internimage.driving.world.rig import LIDAR, NUSCENES_RIG
from internimage.machine import describe_machine
from internimage.ops import ms_deform_attn
from internimage.ops.attention_torch import attention_forward
from internimage.ops.standard import attention_standard
from internimage.registry import ARCHITECTURES, resolve
from internimage.structures.batching import padded


def memory() -> float:
    """Peak of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def frame(size: tuple[int, int], cameras: int, *, continued: bool) -> Views:
    """Random pictures of a height and width, seen by nuScenes' cameras."""
    height, width = size
    projections = []
    for camera in NUSCENES_RIG[:cameras]:
        _, intrinsic = camera.scaled(width / camera.size[0])
        whole = torch.eye(4, dtype=torch.float64)
        whole[:3, :3] = torch.from_numpy(intrinsic)
        projections.append(whole @ torch.from_numpy((camera.pose.inverse @ LIDAR).matrix))
    motion = torch.zeros(1, CAN_BUS)
    motion[0, 0] = 3.0 if continued else 0.0
    return Views(
        torch.randn(1, cameras, 3, padded(height), padded(width)),
        torch.stack(projections)[None].float(),
        torch.ones(1, cameras, dtype=torch.bool),
        motion,
        torch.tensor([[0.0, 0.03]]) if continued else torch.zeros(1, 2),
        torch.zeros(1),
        torch.tensor([continued]),
        torch.tensor(size).expand(1, cameras, 2),
    )


def watched(model: Any) -> dict[str, list[float]]:
    """Seconds of each stage, filled by every forward pass."""
    times: dict[str, list[float]] = defaultdict(list)
    stages: dict[str, list[nn.Module]] = {
        "backbone": [model.backbone],
        "feature pyramid": [model.neck],
        "attention in time": [layer.temporal for layer in model.encoder.layers],
        "attention to cameras": [layer.spatial for layer in model.encoder.layers],
        "encoder's linear layers": [layer.feed_forward for layer in model.encoder.layers],
        "decoder": [model.decoder],
    }
    started: dict[nn.Module, float] = {}
    for name, modules in stages.items():
        for module in modules:
            module.register_forward_pre_hook(lambda own, _: started.update({own: time.perf_counter()}))
            module.register_forward_hook(
                lambda own, _, __, name=name: times[name].append(time.perf_counter() - started[own])
            )
    return times


def plain(value: Tensor, shapes: Any, location: Tensor, weight: Tensor) -> Tensor:
    """One ``embedding_bag`` over the pixels, our plain form."""
    return attention_forward(value, location, weight, [side for size in shapes for side in size])


def sampled(value: Tensor, shapes: Any, location: Tensor, weight: Tensor) -> Tensor:
    """A ``grid_sample`` a level, the usual plain form."""
    return attention_standard(value, location, weight, list(shapes))


def compare(model: Any, views: Views, history: Tensor, rounds: int) -> None:
    """The attention to cameras of one layer, with our operator and with plain ones."""
    layer, given = model.encoder.layers[0].spatial, []
    handle = layer.register_forward_hook(lambda _, inputs, __: given.append(inputs))
    model.encode(views, history)
    handle.remove()
    forms: dict[str, Callable[..., Tensor]] = {"ours": ms_deform_attn, "grid_sample": sampled, "embedding_bag": plain}
    operator: dict[str, list[float]] = defaultdict(list)
    whole: dict[str, list[float]] = defaultdict(list)
    results = {}
    for _ in range(rounds):
        for name, form in forms.items():  # in turn, so that a busy moment of the machine meets all of them

            def clocked(*inputs: Any, name: str = name, form: Callable[..., Tensor] = form) -> Tensor:
                started = time.perf_counter()
                result = form(*inputs)
                operator[name][-1] += time.perf_counter() - started
                return result

            operator[name].append(0.0)
            spatial_attention.ms_deform_attn = clocked  # type: ignore[assignment]
            started = time.perf_counter()
            results[name] = layer(*given[0])
            whole[name].append(time.perf_counter() - started)
    spatial_attention.ms_deform_attn = ms_deform_attn
    seen = int(given[0][3].cells.numel())
    print(f"attention to cameras, one layer, {seen} pairs of a cell and a camera that sees it, {rounds} rounds")
    print("| operator | operator alone, ms, median (range) | times ours | whole layer, ms | largest difference |")
    print("|---|---:|---:|---:|---:|")
    ours = statistics.median(operator["ours"])
    for name, seconds in operator.items():
        median, low, high = (1e3 * number for number in (statistics.median(seconds), min(seconds), max(seconds)))
        difference = (results[name] - results["ours"]).abs().max()
        print(
            f"| {name} | {median:.0f} ({low:.0f} to {high:.0f}) | {median / ours / 1e3:.1f} "
            f"| {1e3 * statistics.median(whole[name]):.0f} | {difference:.1e} |"
        )


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bevformer_tiny")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, help="width of the pictures in pixels; the model's own where left out")
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--no-plain", action="store_true", help="leave out the comparison with plain PyTorch")
    options = parser.parse_args()
    torch.manual_seed(0)
    recipe = internimage.get_recipe(options.model)
    model = resolve(ARCHITECTURES[recipe.architecture].model)(recipe.config).eval()
    preprocessing = recipe.preprocessing
    assert isinstance(preprocessing, internimage.FitPreprocessing)
    width = options.size or preprocessing.long
    size = (round(width * 9 / 16), width)
    print(describe_machine(torch.device("cpu")), f"{torch.get_num_threads()} threads")
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    extent = f"{padded(size[0])}x{padded(width)}"
    print(f"{options.model}: {parameters:.1f} M parameters, {options.cameras} cameras of {extent}")
    print(f"peak memory with the model loaded: {memory():.2f} GiB")
    _, history = model(frame(size, options.cameras, continued=False))
    views, times, frames = frame(size, options.cameras, continued=True), watched(model), []
    per_frame: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        times.clear()
        started = time.perf_counter()
        model(views, history)
        frames.append(time.perf_counter() - started)
        for name, seconds in times.items():
            per_frame[name].append(sum(seconds))
    print(f"peak memory of frames: {memory():.2f} GiB")
    whole = statistics.median(frames)
    print(f"| stage | s a frame, median (range) of {options.rounds} | share |\n|---|---:|---:|")
    for name, seconds in per_frame.items():
        median = statistics.median(seconds)
        print(f"| {name} | {median:.3f} ({min(seconds):.3f} to {max(seconds):.3f}) | {median / whole:.1%} |")
    print(f"| all | {whole:.3f} ({min(frames):.3f} to {max(frames):.3f}) | |")
    if not options.no_plain:
        compare(model, views, history, options.rounds)
        print(f"peak memory with plain operators: {memory():.2f} GiB")


if __name__ == "__main__":
    main()
