"""The one place that measures time: alternation, medians and quartiles, the machine's limits."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from internimage.errors import ConfigError

# A sample repeats a fast call until it takes this long: far above the clock's resolution and one interruption.
SAMPLE_MS = 5.0
# Side of the matrices and bytes of the tensor that show the limits: big enough to be at them and to leave the caches.
LIMIT_SIZES = {"cpu": (1024, 256 << 20), "cuda": (8192, 1 << 30)}
_LIMIT_ROUNDS = 3


@dataclass(frozen=True)
class Timing:
    """Milliseconds a call; ``samples`` are means over ``calls`` calls in a row."""

    median: float
    first_quartile: float
    third_quartile: float
    calls: int
    samples: tuple[float, ...]

    @classmethod
    def of(cls, samples: list[float], calls: int) -> Timing:
        if len(samples) == 1:
            return cls(samples[0], samples[0], samples[0], calls, tuple(samples))
        first, median, third = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(median, first, third, calls, tuple(samples))

    def __str__(self) -> str:
        """``12.3 (11.9-12.8)``: the median and the quartiles, with three significant digits of the median."""
        digits = max(0, 2 - math.floor(math.log10(self.median))) if self.median > 0 else 0
        return f"{self.median:.{digits}f} ({self.first_quartile:.{digits}f}-{self.third_quartile:.{digits}f})"


def compare(variants: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, Timing]:
    """Warm every variant up, then take one sample of each in turn, ``rounds`` times, so that all meet the same load."""
    if rounds < 1:
        raise ConfigError(f"rounds is {rounds}; a median needs at least 1")
    calls = {name: _calls(run, device) for name, run in variants.items()}
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            samples[name].append(_sample(run, calls[name], device) / calls[name])
    return {name: Timing.of(values, calls[name]) for name, values in samples.items()}


def _calls(run: Callable[[], object], device: torch.device) -> int:
    """How many calls make a sample, found after a call that pays for allocations and compilation."""
    _sample(run, 1, device)
    calls = 1
    while (taken := _sample(run, calls, device)) < SAMPLE_MS:
        # a first call may still be slow, so grow step by step; a fifth more, so that a sample rarely falls short
        calls = max(calls + 1, min(10 * calls, math.ceil(1.2 * calls * SAMPLE_MS / max(taken, 1e-6))))
    return calls


def _sample(run: Callable[[], object], calls: int, device: torch.device) -> float:
    """Milliseconds of ``calls`` calls in a row; on a GPU between two events on its stream, all work done."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        start.record()
        for _ in range(calls):
            run()
        end.record()
        torch.cuda.synchronize(device)
        return start.elapsed_time(end)
    before = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - before) * 1e3


@dataclass(frozen=True)
class Limits:
    """What this machine reached with the same threads, just before: the best of a few samples.

    Attributes:
        gflops: 1e9 floating-point operations a second of a large matrix product, a multiply-add counted as two; in the
            dtype measured or in float32, whichever is faster (a CPU without float16 arithmetic is 100 times slower
            with it, and operators sum in float32 anyway).
        gb_per_s: 1e9 bytes a second, read and written, of a copy of a tensor far larger than the caches.
    """

    gflops: float
    gb_per_s: float


def measure_limits(dtype: torch.dtype, device: torch.device) -> Limits:
    """Limits of the device with the number of threads that is set now."""
    side, size = LIMIT_SIZES[device.type]
    products = []
    for kind in {dtype, torch.float32}:
        left, right = (torch.rand(side, side, device=device).to(kind) for _ in range(2))
        products.append(_best(lambda left=left, right=right: left @ right, device))  # type: ignore[misc]
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    copy = _best(lambda: target.copy_(source), device)
    return Limits(gflops=2 * side**3 / min(products) / 1e6, gb_per_s=2 * size / copy / 1e6)


def _best(run: Callable[[], object], device: torch.device) -> float:
    with torch.inference_mode():
        return min(compare({"": run}, _LIMIT_ROUNDS, device)[""].samples)


@contextmanager
def measuring(device: str, threads: int | None) -> Iterator[torch.device]:
    """The device, with ``threads`` CPU threads inside (None: one on a CPU, where figures per core compare best).

    Raises:
        ConfigError: there is no such device, or fewer than one thread is asked for.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("PyTorch finds no CUDA device here; use --device cpu, or ask `internimage doctor` why")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads is {threads}; expected at least 1")
    before = torch.get_num_threads()
    if threads is None and device == "cpu":
        threads = 1
    torch.set_num_threads(threads or before)
    try:
        yield torch.device(device)
    finally:
        torch.set_num_threads(before)
