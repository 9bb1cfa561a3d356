"""The GPU kernels as PyTorch calls them: what they accept, how they are launched, and their registration.

The operators have the signatures of ``torch.ops.internimage``.  What the kernels do not know, float64 above all, goes
to the plain implementation.  Triton is imported when the first tensor arrives, so that a machine without a GPU pays
nothing; a kernel is compiled, and timed in a few variants, when a layer of its kind is first met.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from internimage.ops.geometry import SamplingGeometry
from internimage.ops.registration import geometry_of

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_SMALL = 1 << 30  # as many pairs or pixels are counted in 32 bits, with room for a block


def register(library: torch.library.Library) -> tuple[str | None, str]:
    """Make the kernels those of CUDA devices, unless there cannot be any; their name or None, and why."""
    if os.environ.get("INTERNIMAGE_TRITON", "1") == "0":
        return None, "INTERNIMAGE_TRITON=0 asks for none"
    if torch.version.cuda is None and torch.version.hip is None:
        return None, "this PyTorch is built without GPU support"
    if importlib.util.find_spec("triton") is None:
        return None, "triton is not installed"
    for operator in (dcnv3, dcnv3_backward, dcnv4, dcnv4_backward, ms_deform_attn, ms_deform_attn_backward):
        library.impl(operator.__name__, operator, "CUDA")
    try:
        version = f" {importlib.metadata.version('triton')}"
    except importlib.metadata.PackageNotFoundError:  # builds for other systems have other names
        version = ""
    return f"Triton{version}", "triton is installed"


# ---- the operators ---------------------------------------------------------------------------------------------------


def dcnv3(input: Tensor, offset: Tensor, mask: Tensor, *arguments: Any) -> Tensor:
    """See :func:`internimage.ops.dcnv3`."""
    kernels = _kernels_for(input, offset, mask)
    if kernels is None:
        return torch.ops.internimage.dcnv3_plain(input, offset, mask, *arguments)
    geometry = geometry_of(arguments)
    layout = _separate(geometry.groups, geometry.points)
    return _convolution_forward(kernels, input, offset, mask, layout, geometry, arguments[11])


def dcnv3_backward(grad: Tensor, input: Tensor, offset: Tensor, mask: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """Gradients of the three tensors of :func:`dcnv3`."""
    kernels = _kernels_for(input, grad, offset, mask)
    if kernels is None:
        return torch.ops.internimage.dcnv3_backward_plain(grad, input, offset, mask, *arguments)
    geometry = geometry_of(arguments)
    grad_offset, grad_mask = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (offset, mask))
    layout = _separate(geometry.groups, geometry.points)
    grad_input = _convolution_backward(
        kernels, grad, input, offset, mask, grad_offset, grad_mask, layout, geometry, arguments[11]
    )
    return grad_input, grad_offset, grad_mask


def dcnv4(input: Tensor, packed: Tensor, *arguments: Any) -> Tensor:
    """See :func:`internimage.ops.dcnv4`."""
    kernels = _kernels_for(input, packed)
    if kernels is None:
        return torch.ops.internimage.dcnv4_plain(input, packed, *arguments)
    geometry, packed = geometry_of(arguments), packed.contiguous()
    layout = _interleaved(packed.shape[-1], geometry.points)
    weight = packed.view(-1)[2 * geometry.points :]
    return _convolution_forward(kernels, input, packed, weight, layout, geometry, arguments[11])


def dcnv4_backward(grad: Tensor, input: Tensor, packed: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """Gradients of the two tensors of :func:`dcnv4`; zero in the padding of the second."""
    kernels = _kernels_for(input, grad, packed)
    if kernels is None:
        return torch.ops.internimage.dcnv4_backward_plain(grad, input, packed, *arguments)
    geometry, packed = geometry_of(arguments), packed.contiguous()
    width, points = packed.shape[-1], geometry.points
    grad_packed = torch.empty_like(packed)
    grad_packed[..., 3 * geometry.groups * points :].zero_()
    weight, grad_weight = (tensor.view(-1)[2 * points :] for tensor in (packed, grad_packed))
    layout = _interleaved(width, points)
    grad_input = _convolution_backward(
        kernels, grad, input, packed, weight, grad_packed, grad_weight, layout, geometry, arguments[11]
    )
    return grad_input, grad_packed


def ms_deform_attn(value: Tensor, location: Tensor, weight: Tensor, shapes: Sequence[int]) -> Tensor:
    """See :func:`internimage.ops.ms_deform_attn`; ``shapes`` are height, width, height, width and so on."""
    kernels = _kernels_for(value)
    if kernels is None or not location.dtype == weight.dtype == torch.float32:
        return torch.ops.internimage.ms_deform_attn_plain(value, location, weight, shapes)
    batch, _, heads, depth = value.shape
    output = value.new_empty(batch, location.shape[1], heads * depth)
    tensors = value.contiguous(), location.contiguous(), weight.contiguous(), output
    _launch(kernels.forward, tensors, _attention_arguments(kernels, value, location, shapes))
    return output


def ms_deform_attn_backward(
    grad: Tensor, value: Tensor, location: Tensor, weight: Tensor, shapes: Sequence[int]
) -> tuple[Tensor, ...]:
    """Gradients of the three tensors of :func:`ms_deform_attn`."""
    kernels = _kernels_for(value, grad)
    if kernels is None or not location.dtype == weight.dtype == torch.float32:
        return torch.ops.internimage.ms_deform_attn_backward_plain(grad, value, location, weight, shapes)
    grad_value = torch.zeros(value.shape, dtype=torch.float32, device=value.device)
    location, weight = location.contiguous(), weight.contiguous()
    grad_location, grad_weight = torch.empty_like(location), torch.empty_like(weight)
    tensors = grad.contiguous(), value.contiguous(), location, weight, grad_value, grad_location, grad_weight
    _launch(kernels.backward, tensors, _attention_arguments(kernels, value, location, shapes))
    return grad_value.to(value.dtype), grad_location, grad_weight


# ---- what the kernels are told ---------------------------------------------------------------------------------------


# Layouts are the numbers from one row (output pixel) to the next and from one group to the next, of places and weights.


def _separate(groups: int, points: int) -> dict[str, int]:
    row, group = {"place_row": 2 * groups * points, "weight_row": groups * points}, {"PLACE_GROUP": 2 * points}
    return {**row, **group, "WEIGHT_GROUP": points}


def _interleaved(width: int, points: int) -> dict[str, int]:
    return {"place_row": width, "weight_row": width, "PLACE_GROUP": 3 * points, "WEIGHT_GROUP": 3 * points}


def _convolution_forward(
    kernels: Any,
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    layout: dict[str, int],
    geometry: SamplingGeometry,
    softmax: bool,
) -> Tensor:
    batch, height, width, channels = input.shape
    output = input.new_empty(batch, *geometry.output_size(height, width), channels)
    arguments = _convolution_arguments(kernels, output, input, geometry, softmax)
    tensors = input.contiguous(), offset.contiguous(), weight.contiguous(), output
    _launch(kernels.forward, tensors, arguments | layout)
    return output


def _convolution_backward(
    kernels: Any,
    grad: Tensor,
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    grad_offset: Tensor,
    grad_weight: Tensor,
    layout: dict[str, int],
    geometry: SamplingGeometry,
    softmax: bool,
) -> Tensor:
    """Writes the gradients of offset and weight where they are given, and returns that of the input."""
    grad_input = torch.zeros(input.shape, dtype=torch.float32, device=input.device)
    arguments = _convolution_arguments(kernels, grad, input, geometry, softmax)
    inputs = grad.contiguous(), input.contiguous(), offset.contiguous(), weight.contiguous()
    _launch(kernels.backward, (*inputs, grad_input, grad_offset, grad_weight), arguments | layout)
    return grad_input.to(input.dtype)


def _convolution_arguments(
    kernels: Any, output: Tensor, input: Tensor, geometry: SamplingGeometry, softmax: bool
) -> dict[str, Any]:
    batch, height, width, channels = input.shape
    centre, kernel = geometry.centre(), geometry.kernel_size
    left_out = kernel[1] // 2 * kernel[0] + kernel[0] // 2 if geometry.remove_center else geometry.points
    arguments = _arguments(
        kernels,
        [height, width],
        groups=geometry.groups,
        depth=channels // geometry.groups,
        points=geometry.points,
        batch=batch,
        queries=output.shape[1] * output.shape[2],
    )
    return arguments | {
        "out_width": output.shape[2],
        "stride_y": geometry.stride[0],
        "stride_x": geometry.stride[1],
        "start_y": centre[0] - geometry.padding[0],
        "start_x": centre[1] - geometry.padding[1],
        "scale": geometry.offset_scale,
        "ATTENTION": False,
        "SOFTMAX": softmax,
        "KERNEL": (kernel[0], left_out, *geometry.dilation, *centre),
    }


def _attention_arguments(kernels: Any, value: Tensor, location: Tensor, shapes: Sequence[int]) -> dict[str, Any]:
    batch, _, heads, depth = value.shape
    points = location.shape[4]
    arguments = _arguments(
        kernels, shapes, groups=heads, depth=depth, points=points, batch=batch, queries=location.shape[1]
    )
    return arguments | _separate(heads, len(shapes) // 2 * points)


def _arguments(
    kernels: Any, shapes: Sequence[int], *, groups: int, depth: int, points: int, batch: int, queries: int
) -> dict[str, Any]:
    """Everything that both problems have; the grid and the softmax of a convolution are added."""
    levels, start = [], 0
    for height, width in zip(shapes[::2], shapes[1::2], strict=True):
        # Triton compiles a kernel again for numbers that are 1 or divide by 16; 2 n + 1 rarely is and never does.
        levels += [2 * height + 1, 2 * width + 1, 2 * start + 1]
        start += height * width
    pairs = batch * queries * groups
    return {
        "shapes": tuple(levels),
        "pairs": pairs,
        "pixels": start,
        "queries": queries,
        "out_width": 1,
        "stride_y": 0,
        "stride_x": 0,
        "start_y": 0,
        "start_x": 0,
        "scale": 1.0,
        "ATTENTION": True,
        "LEVELS": len(levels) // 3,
        "POINTS": points,
        "SOFTMAX": False,
        "KERNEL": (),
        "GROUPS": groups,
        "DEPTH": depth,
        "BLOCK_POINTS": _power_of_two(len(levels) // 3 * points),
        "BLOCK_DEPTH": _power_of_two(depth),
        "INDEX": kernels.tl.int32 if max(pairs, start) < _SMALL else kernels.tl.int64,
    }


def _power_of_two(least: int) -> int:
    return 1 << max(least - 1, 0).bit_length()


# ---- launching -------------------------------------------------------------------------------------------------------


def _kernels_for(value: Tensor, *others: Tensor) -> Any:
    """The kernels, if they can compute with these tensors, which must have one dtype; else None."""
    if value.dtype not in _DTYPES or any(other.dtype != value.dtype for other in others):
        return None
    return _kernels(value.device)


@functools.cache
def _kernels(device: torch.device) -> Any:
    """The module of the kernels, or None with a warning where Triton does not work: everything runs without."""
    if device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return None  # Triton supports no older GPUs
    try:
        from internimage.ops import triton_kernels

        if device.type == "cuda":
            triton_kernels.triton.runtime.driver.active.get_current_target()  # needs a C compiler, for one
    except Exception as error:  # whatever it is, the plain implementation computes the same
        warnings.warn(f"internimage: Triton does not work here ({error}); plain PyTorch computes instead", stacklevel=2)
        return None
    return triton_kernels


def _launch(kernel: Any, tensors: tuple[Tensor, ...], arguments: dict[str, Any]) -> None:
    """Run over all pairs, on the tensors' device.  Without pairs the outputs are empty and nothing is to be done."""
    pairs, inner = arguments["pairs"], max(arguments["BLOCK_DEPTH"], arguments["BLOCK_POINTS"])
    if not pairs:
        return

    def grid(meta: dict[str, Any]) -> tuple[int]:
        block = max(meta["TILE"] // inner, 1)
        return ((pairs + block - 1) // block,)

    device = tensors[0].device
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        kernel[grid](*tensors, **arguments)
