"""DCNv3, the deformable convolution of InternImage: public function, checks and registration with PyTorch.

The operator is registered as ``torch.ops.internimage.dcnv3`` with fake, autograd and autocast rules, so
``torch.compile``, ``torch.export``, meta tensors and mixed precision treat it like an operator of PyTorch's own.  The
plain-PyTorch implementation serves every device; a faster kernel for one device is registered under that
device's dispatch key and takes precedence there, without any change to callers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from internimage.errors import OperatorError
from internimage.ops import dcnv3_torch
from internimage.ops.dcnv3_reference import dcnv3_reference
from internimage.ops.geometry import IntPair, SamplingGeometry, as_pair

_GEOMETRY = (
    "int[2] kernel_size, int[2] stride, int[2] padding, int[2] dilation, "
    "int groups, float offset_scale, bool remove_center"
)
_library = torch.library.Library("internimage", "DEF")
_library.define(f"dcnv3(Tensor input, Tensor offset, Tensor mask, {_GEOMETRY}) -> Tensor")
_library.define(
    f"dcnv3_backward(Tensor grad_output, Tensor input, Tensor offset, Tensor mask, {_GEOMETRY}) "
    "-> (Tensor, Tensor, Tensor)"
)


def dcnv3(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    *,
    kernel_size: IntPair = 3,
    stride: IntPair = 1,
    padding: IntPair = 1,
    dilation: IntPair = 1,
    groups: int,
    offset_scale: float = 1.0,
    remove_center: bool = False,
) -> Tensor:
    """Sample each group's channels at learned positions and sum the samples with learned weights.

    For output pixel (oy, ox), group g and point p = i * kernel_h + j (column i, row j of the kernel)::

        cx, cy = dilation_w * (kernel_w - 1) // 2, dilation_h * (kernel_h - 1) // 2
        x = cx - pad_w + ox * stride_w + (i * dilation_w - cx + dx) * offset_scale
        y = cy - pad_h + oy * stride_h + (j * dilation_h - cy + dy) * offset_scale
        output[oy, ox, g] = sum over p of mask[oy, ox, g, p] * bilinear(input[..., g], y, x)

    in input pixels whose centres are integers, with zeros outside the image.  P is
    ``kernel_h * kernel_w``, one less with ``remove_center``.

    Args:
        input: (N, H, W, C) channels last; float64, float32, bfloat16 or float16.  C is divisible by ``groups``.
        offset: (N, Ho, Wo, G * P * 2) displacements in input pixels, laid out (group, point, (x, y)).
        mask: (N, Ho, Wo, G * P) weights, laid out (group, point).  The network passes a softmax over P; any
            values are accepted.
        kernel_size, stride, padding, dilation: an integer or (height, width).
        groups: number of channel groups G with offsets of their own.
        offset_scale: stretches the dilated kernel grid and the offsets around the kernel's centre.
        remove_center: leave out the kernel's central point (``kernel_h // 2``, ``kernel_w // 2``).

    Returns:
        (N, Ho, Wo, C) in the dtype of ``input``.  Coordinates and weights are computed and summed in float32, in
        float64 if the tensors are float64.  Offset gradients on an exact pixel line are right derivatives.

    Raises:
        OperatorError: shapes, dtypes or devices do not fit together; the message names the tensor and the shape
            expected.

    Source: Wang et al., "InternImage: Exploring Large-Scale Vision Foundation Models with Deformable
    Convolutions", CVPR 2023, section 3.1, equation 2.
    """
    geometry = SamplingGeometry(
        as_pair(kernel_size, "kernel_size"),
        as_pair(stride, "stride"),
        as_pair(padding, "padding"),
        as_pair(dilation, "dilation"),
        groups,
        float(offset_scale),
        remove_center,
    )
    _check(input, offset, mask, geometry)
    return torch.ops.internimage.dcnv3(input, offset, mask, *_arguments(geometry))


class Implementation(NamedTuple):
    """Which code computes an operator on a device, and why."""

    name: str
    reason: str


def implementation(device: str | torch.device) -> Implementation:
    """What :func:`dcnv3` runs on a device."""
    kind = torch.device(device).type
    return Implementation("plain PyTorch", f"this version has no compiled kernel for {kind}; none is needed")


def _arguments(geometry: SamplingGeometry) -> tuple[Any, ...]:
    return (
        geometry.kernel_size,
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        geometry.groups,
        geometry.offset_scale,
        geometry.remove_center,
    )


def _geometry(
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    offset_scale: float,
    remove_center: bool,
) -> SamplingGeometry:
    pairs = [(pair[0], pair[1]) for pair in (kernel_size, stride, padding, dilation)]
    return SamplingGeometry(pairs[0], pairs[1], pairs[2], pairs[3], groups, offset_scale, remove_center)


def _check(input: Tensor, offset: Tensor, mask: Tensor, geometry: SamplingGeometry) -> None:
    geometry.check()
    for name, tensor in (("input", input), ("offset", offset), ("mask", mask)):
        if tensor.dim() != 4 or not tensor.is_floating_point():
            raise OperatorError(
                f"dcnv3: {name} is {tuple(tensor.shape)} {tensor.dtype}; expected a floating tensor (N, H, W, channels)"
            )
        if tensor.device != input.device:
            raise OperatorError(f"dcnv3: {name} is on {tensor.device}, input on {input.device}; move them together")
    batch, height, width, channels = input.shape
    groups, points = geometry.groups, geometry.points
    if channels % groups:
        raise OperatorError(f"dcnv3: {channels} channels do not divide into {groups} groups")
    size = geometry.output_size(height, width)
    if size[0] < 1 or size[1] < 1:
        raise OperatorError(
            f"dcnv3: an input of {height}x{width} is smaller than the kernel {geometry.kernel_size} with dilation "
            f"{geometry.dilation} and padding {geometry.padding}; pad the input"
        )
    for name, tensor, last in (("offset", offset, groups * points * 2), ("mask", mask, groups * points)):
        if tuple(tensor.shape) != (batch, *size, last):
            raise OperatorError(
                f"dcnv3: {name} is {tuple(tensor.shape)}; expected {(batch, *size, last)} for input "
                f"{tuple(input.shape)}, kernel {geometry.kernel_size}, groups {groups}"
            )


def _forward(input: Tensor, offset: Tensor, mask: Tensor, *geometry: Any) -> Tensor:
    return dcnv3_torch.dcnv3_forward(input, offset, mask, _geometry(*geometry))


def _backward(grad: Tensor, input: Tensor, offset: Tensor, mask: Tensor, *geometry: Any) -> Any:
    return dcnv3_torch.dcnv3_backward(grad, input, offset, mask, _geometry(*geometry))


def _fake_forward(input: Tensor, offset: Tensor, mask: Tensor, *geometry: Any) -> Tensor:
    return input.new_empty(*offset.shape[:3], input.shape[3])


def _fake_backward(grad: Tensor, input: Tensor, offset: Tensor, mask: Tensor, *geometry: Any) -> Any:
    return tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in (input, offset, mask))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, offset, mask, *geometry = inputs
    ctx.save_for_backward(input, offset, mask)
    ctx.geometry = geometry


def _autograd_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    gradients = torch.ops.internimage.dcnv3_backward(grad, *ctx.saved_tensors, *ctx.geometry)
    return (*gradients, *(None for _ in ctx.geometry))


def _setup_double_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    grad, input, offset, mask, *geometry = inputs
    ctx.save_for_backward(grad, input, offset, mask)
    ctx.geometry = geometry


def _double_backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
    """Second derivatives, rarely asked for, from the differentiable definition."""
    with torch.enable_grad():
        grad, input, offset, mask = (tensor.detach().requires_grad_() for tensor in ctx.saved_tensors)
        output = dcnv3_reference(input, offset, mask, _geometry(*ctx.geometry))
        gradients = torch.autograd.grad(output, (input, offset, mask), grad, create_graph=True)
        second = torch.autograd.grad(gradients, (grad, input, offset, mask), cotangents)
    return (*second, *(None for _ in ctx.geometry))


def _autocast(device_type: str, keys: torch._C.DispatchKeySet) -> Any:
    def rule(input: Tensor, offset: Tensor, mask: Tensor, *geometry: Any) -> Tensor:
        dtype = torch.get_autocast_dtype(device_type)
        tensors = (t if t.dtype == torch.float64 else t.to(dtype) for t in (input, offset, mask))
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return torch.ops.internimage.dcnv3(*tensors, *geometry)

    return rule


_library.impl("dcnv3", _forward, "CompositeExplicitAutograd")
_library.impl("dcnv3_backward", _backward, "CompositeExplicitAutograd")
torch.library.register_fake("internimage::dcnv3", _fake_forward, lib=_library)
torch.library.register_fake("internimage::dcnv3_backward", _fake_backward, lib=_library)
torch.library.register_autograd("internimage::dcnv3", _autograd_backward, setup_context=_setup_context, lib=_library)
torch.library.register_autograd(
    "internimage::dcnv3_backward", _double_backward, setup_context=_setup_double_backward, lib=_library
)
for _device, _key in (("cpu", "AutocastCPU"), ("cuda", "AutocastCUDA")):
    _keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, _key))
    _library.impl("dcnv3", _autocast(_device, _keys), _key)
