"""Linear layers, layer normalisation and residuals, faster in inference on a CPU; the same numbers to rounding.

Half of the network's time is small linear layers.  PyTorch copies the bias, multiplies, then runs the activation over
the result; oneDNN, which is part of PyTorch, does all three at once, and its float32 product is faster besides.
Narrow layer norms in bfloat16 take several times what their memory traffic needs; the compiled kernel does not, and
does what follows a norm in the same pass.

Whatever records, casts, traces or transforms a computation (gradients, autocast, compilation, export, FLOP counters,
sharded or quantised weights) sees PyTorch's ordinary operators instead.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as _module

from internimage.ops.registration import library

_GELU: tuple[Any, ...] = ("gelu", [], "none")  # the exact one, with erf
_RELU: tuple[Any, ...] = ("relu", [], "")
_NOTHING: tuple[Any, ...] = ("none", [], "")
_LARGE = 2**25  # bytes, see two_linear
_PART = 2**24


def _layer_norm(input: Tensor, weight: Tensor, bias: Tensor, eps: float, gelu: bool) -> Tensor:
    result = F.layer_norm(input, weight.shape, weight, bias, eps)
    return F.gelu(result) if gelu else result


def _layer_norm_add(input: Tensor, residual: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    result = F.layer_norm(input, weight.shape, weight, bias, eps)
    return residual + (scale * result if len(scale) else result)


for _name, _tensors, _numbers, _run in (
    ("layer_norm", "Tensor input", "float eps, bool gelu", _layer_norm),
    ("layer_norm_add", "Tensor input, Tensor residual, Tensor scale", "float eps", _layer_norm_add),
):
    for _twin in (_name, f"{_name}_plain"):
        library.define(f"{_twin}({_tensors}, Tensor weight, Tensor bias, {_numbers}) -> Tensor")
        library.impl(_twin, _run, "CompositeExplicitAutograd")


class LayerNorm(nn.LayerNorm):
    """``torch.nn.LayerNorm`` over the channels of maps (N, H, W, C)."""

    def forward(self, input: Tensor) -> Tensor:
        if _is_served(self, input):
            result: Tensor = torch.ops.internimage.layer_norm(input, self.weight, self.bias, self.eps, False)
            return result
        return super().forward(input)


def normalise(norm: nn.Module, x: Tensor, activation: nn.Module) -> Tensor:
    """``activation(norm(x))`` of maps (N, H, W, C), in one pass where :class:`LayerNorm` and the exact GELU meet.

    As in :func:`linear`, modules that anything watches or replaces are called.
    """
    if type(norm) is LayerNorm and is_plain(norm) and _fused(activation) is _GELU and _is_served(norm, x):
        result: Tensor = torch.ops.internimage.layer_norm(x, norm.weight, norm.bias, norm.eps, True)
        return result
    result = activation(norm(x))
    return result


def add(x: Tensor, y: Tensor, scale: Tensor | None = None, norm: nn.Module | None = None) -> Tensor:
    """``x + scale * norm(y)`` of maps (N, H, W, C), in one pass where nothing watches.

    Args:
        x: the residual.
        y: what a branch gave, in its shape.
        scale: (C), of the layer.
        norm: the module after the branch.
    """
    if norm is not None:
        known = type(norm) is LayerNorm and is_plain(norm) and _is_served(norm, y) and _are_alike(x, y)
        if known and (scale is None or (is_plain_inference(x, scale) and scale.shape == norm.weight.shape)):
            factor = y.new_empty(0) if scale is None else scale
            result: Tensor = torch.ops.internimage.layer_norm_add(y, x, factor, norm.weight, norm.bias, norm.eps)
            return result
        y = norm(y)
    if scale is None:
        return x + y
    return torch.addcmul(x, scale, y) if is_plain_inference(x, scale) and _are_alike(x, y) else x + scale * y


def _are_alike(x: Tensor, y: Tensor) -> bool:
    return x.dtype == y.dtype and x.shape == y.shape


def _is_served(norm: nn.LayerNorm, x: Tensor) -> bool:
    """Whether the compiled kernel takes these maps, and nothing watches it."""
    maps = x.dim() == 4 and norm.bias is not None  # without weight there is no bias either
    return maps and is_plain_inference(x, norm.weight) and x.shape[3:] == norm.weight.shape


def linear(layer: nn.Linear, x: Tensor, activation: nn.Module | None = None) -> Tensor:
    """``layer(x)``, or ``activation(layer(x))``.

    The fused product serves inference on a CPU (no gradients, no autocast).  The layer stays an ordinary ``nn.Linear``
    in the ordinary place: if anything watches or replaces it (hooks, adapters, pruning, quantisation, sharding,
    compilation, export, a FLOP counter), it is called like any other module.

    Args:
        layer: the linear layer.
        x: (..., in_features).
        activation: the module after it; the exact GELU and ReLU are fused, any other is called.

    Returns:
        (..., out_features), in the dtype of ``x``.  Against the separate calls float32 differs by rounding; in
        bfloat16 the fused GELU reads the sum before it is rounded.
    """
    if _is_multiplied(layer, x):
        fused = _fused(activation)
        result = torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, *fused)
        return result if fused is not _NOTHING or activation is None else activation(result)
    result = layer(x)
    return result if activation is None else activation(result)


def two_linear(first: nn.Linear, activation: nn.Module, second: nn.Linear, x: Tensor) -> Tensor:
    """``second(activation(first(x)))``, a few thousand rows at a time where what lies between is large.

    Memory of more than 32 MiB comes from the system page by page and goes back there after each call, which takes
    longer than to write it.  As in :func:`linear`, modules that anything watches or replaces see all rows.
    """
    plain = _is_multiplied(first, x) and type(second) is nn.Linear and is_plain(second)
    size = x.numel() // first.in_features * first.out_features * x.element_size() if plain else 0  # no size of a trace
    if size <= _LARGE or _fused(activation) is _NOTHING:
        return linear(second, linear(first, x, activation))
    rows = x.shape[:-1].numel()
    result = x.new_empty(rows, second.out_features)
    count = -(-size // _PART)
    for part, into in zip(x.reshape(rows, -1).tensor_split(count), result.tensor_split(count), strict=True):
        into.copy_(linear(second, linear(first, part, activation)))
    return result.view(*x.shape[:-1], -1)


def _is_multiplied(layer: nn.Linear, x: Tensor) -> bool:
    """Whether oneDNN multiplies, and nothing watches it."""
    weight = layer.weight
    return bool(
        type(layer) is nn.Linear
        and is_plain(layer)
        and is_plain_inference(x, weight)
        and x.shape[-1] == weight.shape[1]  # otherwise the layer itself explains what is wrong
        and x.numel() * weight.shape[0] >= least_multiplications().get(x.dtype, sys.maxsize)
        and torch.backends.mkldnn.enabled
    )


def _fused(activation: nn.Module | None) -> tuple[Any, ...]:
    """What oneDNN does after the product."""
    if activation is None or not is_plain(activation):
        return _NOTHING
    if type(activation) is nn.GELU and activation.approximate == "none":
        return _GELU
    return _RELU if type(activation) is nn.ReLU else _NOTHING


def is_plain_inference(x: Tensor, weight: Tensor) -> bool:
    """Whether these are ordinary CPU tensors of one dtype and nothing watches what is done with them."""
    return (
        not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and type(x) is Tensor
        and type(weight) is nn.Parameter
        and x.is_cpu
        and weight.is_cpu
        and weight.dtype == x.dtype
        and not torch.is_autocast_enabled("cpu")
        and torch._C._len_torch_dispatch_stack() == 0
    )


def is_plain(module: nn.Module) -> bool:
    """Whether calling the module runs its class's ``forward`` and nothing else."""
    return not (
        module._forward_hooks
        or module._forward_pre_hooks
        or _module._global_forward_hooks
        or _module._global_forward_pre_hooks
        or "forward" in vars(module)
    )


@functools.cache
def least_multiplications() -> dict[torch.dtype, int]:
    """What oneDNN multiplies at full speed here, and from which size on: a call of it takes 15 microseconds more than
    one of the library that PyTorch uses for float32; in bfloat16 both are oneDNN.
    """
    operators = torch.ops.mkldnn
    known = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")  # others were not measured
    if not known or not torch.backends.mkldnn.is_available() or not hasattr(operators, "_linear_pointwise"):
        return {}
    return {torch.float32: 2**23} | ({torch.bfloat16: 1} if operators._is_mkldnn_bf16_supported() else {})
