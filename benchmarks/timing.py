"""Timing for the benchmarks: variants alternate within one process, medians and quartiles are reported."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def machine() -> str:
    """One line that says what was measured on."""
    model = "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{model}, {capability}, {torch.get_num_threads()} thread(s), {platform.system()}, torch {torch.__version__}"


def compare(variants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float, float]]:
    """Median, first and third quartile in milliseconds of each variant, called in turn ``rounds`` times."""
    for run in variants.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: (statistics.median(ts), *_quartiles(ts)) for name, ts in times.items()}


def _quartiles(values: list[float]) -> tuple[float, float]:
    first, _, third = statistics.quantiles(values, n=4)
    return first, third


def cell(result: tuple[float, float, float]) -> str:
    """``12.3 (11.9-12.8)``"""
    median, first, third = result
    return f"{median:.2f} ({first:.2f}-{third:.2f})"
