"""The machine that something ran on."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from internimage import ops


@dataclass(frozen=True)
class Machine:
    """What was measured on; names as the system gives them."""

    processor: str
    instructions: str
    cores: int
    threads: int
    device: str
    system: str
    python: str
    torch: str
    internimage: str
    operators: str

    def __str__(self) -> str:
        place = self.processor if self.device == "cpu" else f"{self.device} ({self.processor})"
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''} of {self.cores} cores"
        return f"{place}, {self.instructions}, {threads}, torch {self.torch}; our operators: {self.operators}"


def describe_machine(device: torch.device) -> Machine:
    """The machine with the number of threads that is set now."""
    return Machine(
        processor=_processor(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        device="cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
        system=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        internimage=version("internimage"),
        operators=ops.implementation(device).name,
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> int:
    """Bytes in use at most so far: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
