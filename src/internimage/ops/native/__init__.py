"""The compiled CPU kernels: one shared library for every torch from 2.10 on, loaded if it is there.

A second one, of the same kernels, holds ONNX Runtime's operators; ``internimage.exporting.runtimes`` loads it.

``build.py`` compiles it where a wheel is built or a source installation finds a compiler; without it the plain-PyTorch
implementation runs.  ``INTERNIMAGE_NATIVE=0`` leaves it out, ``INTERNIMAGE_CPU=avx2`` or ``portable`` limits it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path

import torch

LIBRARY = Path(__file__).with_name("_kernels.dll" if sys.platform == "win32" else "_kernels.so")


@functools.cache
def load() -> tuple[str | None, str]:
    """Register the kernels with PyTorch; the instruction set in use or None, and why."""
    if os.environ.get("INTERNIMAGE_NATIVE", "1") == "0":
        return None, "INTERNIMAGE_NATIVE=0 asks for none"
    if not LIBRARY.exists():
        return None, f"no compiled kernels are installed ({LIBRARY.name} is missing); nothing else is needed"
    try:
        torch.ops.load_library(LIBRARY)
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        return None, f"the compiled kernels do not load here ({str(error).splitlines()[0]})"
    name = library.internimage_cpu_kernels
    name.restype = ctypes.c_char_p
    return name().decode(), f"{LIBRARY.name} is installed; it serves every torch from 2.10 on"
