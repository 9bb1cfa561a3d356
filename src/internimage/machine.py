"""The machine that something runs on: its devices, what they can do, what it is called."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

from internimage import ops
from internimage.errors import ConfigError
from internimage.writing import counted

_FLOATING = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def choose_device(device: str | torch.device | None = "auto") -> torch.device:
    """The named device; "auto" is the first CUDA device if there is one, else the CPU; None is PyTorch's default.

    Raises:
        ConfigError: the name is none of a device, or nothing of the kind is here.
    """
    if device is None:
        return torch.get_default_device()
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device is {device!r}; expected auto, cpu, cuda, cuda:1 ...") from error
    if place.type not in ("cpu", "meta"):
        try:
            torch.empty(0, device=place)
        except Exception as error:  # each kind of device that is missing says so in its own way
            hint = "use cpu or auto; `internimage doctor` lists what is here"
            raise ConfigError(f"device is {str(device)!r}, and PyTorch finds no such device here; {hint}") from error
    return place


def trains_on_cpu(device: str) -> bool:
    """Whether a run on the named device is one on the CPU; "auto" is a GPU if there is one.

    Raises:
        ConfigError: there is no such device to train on.
    """
    there = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    known = ["auto", "cpu", *([] if there is None else [there.type])]
    if str(device) not in known:
        raise ConfigError(f"device is {str(device)!r}; training here runs on {', '.join(known)}")
    return str(device) == "cpu" or there is None


def choose_dtype(dtype: torch.dtype | None = None) -> torch.dtype:
    """The type of a model's weights; None is float32.

    Raises:
        ConfigError: weights cannot be of this type.
    """
    if dtype is None:
        return torch.float32
    if dtype not in _FLOATING:
        raise ConfigError(f"dtype is {dtype!r}; expected {', '.join(str(one) for one in _FLOATING)}")
    return dtype


def check_compiler(device: torch.device) -> None:
    """Raise :class:`ConfigError` if ``torch.compile`` lacks what it needs for this device, before hours are lost.

    It writes C++ for a CPU, and Triton, whose launcher is a C program, for a GPU.
    """
    if device.type == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler  # the search that torch.compile itself makes

        try:
            get_cpp_compiler()
        except (RuntimeError, OSError) as error:
            raise _no_compiler("a C++ compiler (g++ or clang++)") from error
    elif device.type == "cuda":
        if find_spec("triton") is None:
            raise _no_compiler("Triton (pip install triton)")
        if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
            raise _no_compiler("a C compiler (gcc or clang) for Triton")


def _no_compiler(what: str) -> ConfigError:
    return ConfigError(f"torch.compile needs {what}; install it, or leave --compile out (compile=False)")


@functools.cache
def answer_in_forked_children() -> None:
    """From now on, PyTorch takes one thread in processes that this one forks.

    OpenMP's threads are not forked with their pool, and the first operator that wants them would wait for ever.
    """
    if sys.platform != "win32":  # which does not fork
        os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))


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
        threads = f"{counted(self.threads, 'thread')} of {counted(self.cores, 'core')}"
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
