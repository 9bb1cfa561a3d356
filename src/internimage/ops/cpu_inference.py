"""Linear layers and layer normalisation, faster in inference on a CPU; the same numbers to rounding.

Half of the network's time is small linear layers.  PyTorch copies the bias, multiplies, then runs the activation over
the result; oneDNN, which is part of PyTorch, does all three at once, and its float32 product is faster besides.
Narrow layer norms in bfloat16 take several times what their memory traffic needs; the compiled kernel does not.

Whatever records, casts, traces or transforms a computation (gradients, autocast, compilation, export, FLOP counters,
sharded or quantised weights) sees PyTorch's ordinary operators instead.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as _module

from internimage.ops.registration import library

_GELU: tuple[Any, ...] = ("gelu", [], "none")  # the exact one, with erf
_RELU: tuple[Any, ...] = ("relu", [], "")
_NOTHING: tuple[Any, ...] = ("none", [], "")


def _layer_norm(input: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return nn.functional.layer_norm(input, weight.shape, weight, bias, eps)


for _name in ("layer_norm", "layer_norm_plain"):
    library.define(f"{_name}(Tensor input, Tensor weight, Tensor bias, float eps) -> Tensor")
    library.impl(_name, _layer_norm, "CompositeExplicitAutograd")


class LayerNorm(nn.LayerNorm):
    """``torch.nn.LayerNorm`` over the channels of maps (N, H, W, C)."""

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        maps = input.dim() == 4 and bias is not None  # without weight there is no bias either
        if maps and is_plain_inference(input, weight) and input.shape[3:] == weight.shape:
            result: Tensor = torch.ops.internimage.layer_norm(input, weight, bias, self.eps)
            return result
        return super().forward(input)


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
    weight = layer.weight
    if (
        type(layer) is nn.Linear
        and is_plain(layer)
        and is_plain_inference(x, weight)
        and x.shape[-1] == weight.shape[1]  # otherwise the layer itself explains what is wrong
        and x.numel() * weight.shape[0] >= least_multiplications().get(x.dtype, sys.maxsize)
        and torch.backends.mkldnn.enabled
    ):
        fused = _fused(activation)
        result = torch.ops.mkldnn._linear_pointwise(x, weight, layer.bias, *fused)
        return result if fused is not _NOTHING or activation is None else activation(result)
    result = layer(x)
    return result if activation is None else activation(result)


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
