"""The operators as PyTorch knows them: ``torch.ops.internimage``, with fake, autograd and autocast rules.

So ``torch.compile``, ``torch.export``, meta tensors and mixed precision treat them like operators of PyTorch's own.
For each operator there is also ``NAME_plain``, the plain-PyTorch implementation, which serves every device and
dtype.  A faster kernel is registered under its device's dispatch key, takes precedence there, and calls
``NAME_plain`` for what it does not know (float64, images of 2**29 pixels and more); callers never change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from internimage.errors import OperatorError
from internimage.ops import attention_torch, convolution_torch
from internimage.ops.attention_reference import attention_reference
from internimage.ops.convolution_reference import convolution_reference
from internimage.ops.geometry import SamplingGeometry
from internimage.ops.packing import join_packed, split_packed

_CONVOLUTION = (
    "int kernel_h, int kernel_w, int stride_h, int stride_w, int padding_h, int padding_w, "
    "int dilation_h, int dilation_w, int groups, float offset_scale, bool remove_center, bool softmax"
)

library = torch.library.Library("internimage", "DEF")


def convolution_arguments(geometry: SamplingGeometry, softmax: bool) -> tuple[Any, ...]:
    """Geometry and softmax as the schemas of the convolutions list them."""
    pairs = (geometry.kernel_size, geometry.stride, geometry.padding, geometry.dilation)
    flat = (value for pair in pairs for value in pair)
    return (*flat, geometry.groups, geometry.offset_scale, geometry.remove_center, softmax)


def geometry_of(arguments: tuple[Any, ...]) -> SamplingGeometry:
    """The reverse of :func:`convolution_arguments`, without the softmax."""
    pairs = [(arguments[i], arguments[i + 1]) for i in (0, 2, 4, 6)]
    return SamplingGeometry(pairs[0], pairs[1], pairs[2], pairs[3], *arguments[8:11])


# Each forward takes (tensors, arguments); each backward (gradient of the output, tensors, arguments) and returns a
# gradient for every tensor.  A definition is differentiable to any order; second derivatives come from it.


def _dcnv3(input: Tensor, offset: Tensor, mask: Tensor, *arguments: Any) -> Tensor:
    geometry = geometry_of(arguments)
    return convolution_torch.convolution_forward(input, offset, _weight(mask, geometry, arguments[11]), geometry)


def _dcnv3_backward(grad: Tensor, input: Tensor, offset: Tensor, mask: Tensor, *arguments: Any) -> Any:
    geometry, softmax = geometry_of(arguments), arguments[11]
    weight = _weight(mask, geometry, softmax)
    grad_input, grad_offset, grad_weight = convolution_torch.convolution_backward(grad, input, offset, weight, geometry)
    if softmax:
        by_group = (geometry.groups, geometry.points)
        grad_weight, weight = grad_weight.unflatten(-1, by_group), weight.unflatten(-1, by_group)
        grad_weight = weight * (grad_weight - (weight * grad_weight).sum(-1, keepdim=True))
    return grad_input, grad_offset, grad_weight.reshape(mask.shape).to(mask.dtype)


def _dcnv3_definition(input: Tensor, offset: Tensor, mask: Tensor, *arguments: Any) -> Tensor:
    geometry = geometry_of(arguments)
    return convolution_reference(input, offset, _weight(mask, geometry, arguments[11]), geometry)


def _weight(mask: Tensor, geometry: SamplingGeometry, softmax: bool) -> Tensor:
    """The mask or its softmax over the points of a group, which in half precision stays float32, as in the kernels."""
    if not softmax:
        return mask
    mask = mask.to(torch.promote_types(mask.dtype, torch.float32))
    return mask.unflatten(-1, (geometry.groups, geometry.points)).softmax(-1).flatten(-2)


def _dcnv4(input: Tensor, packed: Tensor, *arguments: Any) -> Tensor:
    return _dcnv3(input, *split_packed(packed, geometry_of(arguments)), *arguments)


def _dcnv4_backward(grad: Tensor, input: Tensor, packed: Tensor, *arguments: Any) -> Any:
    geometry = geometry_of(arguments)
    offset, weight = split_packed(packed, geometry)
    grad_input, grad_offset, grad_weight = _dcnv3_backward(grad, input, offset, weight, *arguments)
    return grad_input, join_packed(grad_offset, grad_weight, geometry.groups, packed.shape[-1])


def _dcnv4_definition(input: Tensor, packed: Tensor, *arguments: Any) -> Tensor:
    return _dcnv3_definition(input, *split_packed(packed, geometry_of(arguments)), *arguments)


def _fake_convolution(input: Tensor, placed: Tensor, *others: Any) -> Tensor:
    return input.new_empty(*placed.shape[:3], input.shape[3])


def _fake_attention(value: Tensor, location: Tensor, weight: Tensor, shapes: Any) -> Tensor:
    return value.new_empty(value.shape[0], location.shape[1], value.shape[2] * value.shape[3])


def _register(
    name: str,
    tensors: str,
    arguments: str,
    forward: Callable[..., Tensor],
    backward: Callable[..., Any],
    definition: Callable[..., Tensor],
    fake: Callable[..., Tensor],
    autocast: Callable[..., tuple[Tensor, ...]],
) -> None:
    """Define ``name``, ``name_backward`` and their plain twins with all their rules."""
    names = tensors.split()
    count = len(names)
    listed = ", ".join(f"Tensor {tensor}" for tensor in names) + f", {arguments}"
    signatures = f"({listed}) -> Tensor", f"(Tensor grad_output, {listed}) -> ({', '.join(['Tensor'] * count)})"

    def fake_backward(grad: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in inputs[:count])

    for suffix, signature, run, shape in (
        ("", signatures[0], forward, fake),
        ("_backward", signatures[1], backward, fake_backward),
    ):
        for twin in (f"{name}{suffix}", f"{name}{suffix}_plain"):
            library.define(f"{twin}{signature}")
            library.impl(twin, run, "CompositeExplicitAutograd")
            torch.library.register_fake(f"internimage::{twin}", shape, lib=library)

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:count])
        ctx.arguments = inputs[count:]

    def differentiate(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        run = getattr(torch.ops.internimage, f"{name}_backward")
        gradients = run(grad.contiguous(), *ctx.saved_tensors, *ctx.arguments)
        return (*gradients, *(None for _ in ctx.arguments))

    def keep_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[: 1 + count])
        ctx.arguments = inputs[1 + count :]

    def differentiate_backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        """Second derivatives, rarely asked for."""
        with torch.enable_grad():
            grad, *inputs = (tensor.detach().requires_grad_() for tensor in ctx.saved_tensors)
            output = definition(*inputs, *ctx.arguments)
            gradients = torch.autograd.grad(output, inputs, grad, create_graph=True)
            second = torch.autograd.grad(gradients, (grad, *inputs), cotangents)
        return (*second, *(None for _ in ctx.arguments))

    torch.library.register_autograd(f"internimage::{name}", differentiate, setup_context=keep, lib=library)
    torch.library.register_autograd(
        f"internimage::{name}_backward", differentiate_backward, setup_context=keep_backward, lib=library
    )
    for twin in (name, f"{name}_backward"):
        torch.library.register_vmap(f"internimage::{twin}", _refuse_vmap, lib=library)
    operator = getattr(torch.ops.internimage, name)
    for device, key in (("cpu", "AutocastCPU"), ("cuda", "AutocastCUDA")):
        keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))

        def rule(*inputs: Any, device: str = device, keys: Any = keys) -> Tensor:
            cast = autocast(torch.get_autocast_dtype(device), *inputs[:count])
            with torch._C._ExcludeDispatchKeyGuard(keys):
                return operator(*cast, *inputs[count:])

        library.impl(name, rule, key)


def _refuse_vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
    raise OperatorError(
        "torch.vmap does not reach into this operator; put the mapped dimension into its batch dimension"
    )


def _cast_all(dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor if tensor.dtype == torch.float64 else tensor.to(dtype) for tensor in tensors)


def _cast_value(dtype: torch.dtype, value: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Locations stay as they are: half precision does not tell neighbouring pixels apart."""
    return *_cast_all(dtype, value), *others


_register(
    "dcnv3",
    "input offset mask",
    _CONVOLUTION,
    _dcnv3,
    _dcnv3_backward,
    _dcnv3_definition,
    _fake_convolution,
    _cast_all,
)
_register(
    "dcnv4",
    "input packed",
    _CONVOLUTION,
    _dcnv4,
    _dcnv4_backward,
    _dcnv4_definition,
    _fake_convolution,
    _cast_all,
)
_register(
    "ms_deform_attn",
    "value location weight",
    "SymInt[] shapes",
    attention_torch.attention_forward,
    attention_torch.attention_backward,
    attention_reference,
    _fake_attention,
    _cast_value,
)
