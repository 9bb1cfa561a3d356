"""What this machine has and what will run on it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from internimage import ops
from internimage.checkpoints.hub import hub_answers
from internimage.exporting.runtimes import OPERATORS, lacking_operators
from internimage.machine import choose_device
from internimage.writing import counted

_PACKAGES = ("internimage", "torch", "torchvision", "numpy", "pillow", "safetensors", "huggingface_hub")


def examine() -> dict[str, str]:
    """Findings by name, in reading order.  The hub is asked for a sign of life, for three seconds at most."""
    from huggingface_hub import constants

    findings = {"python": f"{platform.python_version()} on {platform.platform()}"}
    findings |= {name: _version(name) for name in _PACKAGES}
    findings["cpu"] = (
        f"{counted(os.cpu_count() or 1, 'core')}, {counted(torch.get_num_threads(), 'thread')}, {_cpu_capability()}"
    )
    count = torch.cuda.device_count()
    findings["cuda"] = ", ".join(torch.cuda.get_device_name(index) for index in range(count)) or "no device"
    findings["device auto"] = str(choose_device())
    for device in ("cpu", *(("cuda",) if count else ())):
        chosen = ops.implementation(device)
        findings[f"operators on {device}"] = f"{chosen.name}: {chosen.reason}"
    lacking = lacking_operators()
    findings["operators in ONNX Runtime"] = (
        f"standard: {lacking}" if lacking else f"compiled: {OPERATORS.name} is installed"
    )
    findings["weights cache"] = constants.HF_HUB_CACHE
    if constants.HF_HUB_OFFLINE:
        findings["hub"] = "offline mode (HF_HUB_OFFLINE is set)"
    else:
        reached = "answers" if hub_answers() else "not reachable; use --checkpoint with local files"
        findings["hub"] = f"{constants.ENDPOINT}: {reached}"
    return findings


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu_capability() -> str:
    return torch.backends.cpu.get_cpu_capability()
