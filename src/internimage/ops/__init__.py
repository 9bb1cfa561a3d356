"""Operators.  One public function each; the implementation is chosen by what the machine has."""

from __future__ import annotations

from typing import NamedTuple

import torch

from internimage.ops import native, registration, triton_launch
from internimage.ops.attention import ms_deform_attn
from internimage.ops.convolution import dcnv3, dcnv4
from internimage.ops.cpu_inference import LayerNorm, add, linear, normalise, two_linear
from internimage.ops.winograd import conv2d

__all__ = [
    "Implementation",
    "LayerNorm",
    "add",
    "conv2d",
    "dcnv3",
    "dcnv4",
    "implementation",
    "linear",
    "ms_deform_attn",
    "normalise",
    "two_linear",
]

_CPU_KERNELS, _CPU_REASON = native.load()
_GPU_KERNELS, _GPU_REASON = triton_launch.register(registration.library)


class Implementation(NamedTuple):
    """Which code computes the operators on a device, and why."""

    name: str
    reason: str


def implementation(device: str | torch.device) -> Implementation:
    """What the operators run on a device."""
    kind = torch.device(device).type
    if kind == "cpu" and _CPU_KERNELS is not None:
        return Implementation(f"compiled, {_CPU_KERNELS}", _CPU_REASON)
    if kind == "cuda":
        return Implementation(_GPU_KERNELS or "plain PyTorch", _GPU_REASON)
    reason = _CPU_REASON if kind == "cpu" else f"there is no kernel for {kind}; none is needed"
    return Implementation("plain PyTorch", reason)
