"""3x3 convolutions in inference on a CPU, as products of small tiles: a quarter of the multiplications.

Winograd's F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016): tiles of 6 x 6
pixels and the kernel are transformed, multiplied in each of 36 places over the channels, and transformed back to 4 x 4
pixels.  The transforms are compiled kernels, the products oneDNN's.  Against float64 results are off by up to 5e-6 of
the largest, those of the direct convolution by 6e-7.

The transformed kernels, four times as large as the kernels, are kept with each layer, and with them a digest of the
numbers that they were made from: whatever changes a weight, through whatever alias, changes the next result.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.ops import native
from internimage.ops.cpu_inference import is_plain, is_plain_inference, least_multiplications
from internimage.ops.registration import library

_TILES = 512  # at once: what lies between the transforms stays near the cores
_LEAST = 2**25  # multiplications of the direct convolution; below, 36 calls cost more than they save
_LEAST_CHANNELS = 32
_NEAR, _FAR = 0.75, 1.5  # where polynomials are evaluated, as in native/winograd.h

library.define("winograd_transform(Tensor input, int first, int count) -> Tensor")
library.define("winograd_untransform(Tensor(a!) output, Tensor[] products, Tensor bias, bool relu, int first) -> ()")
library.define("digest(Tensor tensor) -> int")


@dataclass(frozen=True)
class _Transformed:
    """A kernel in its 36 places, (O, C) each in oneDNN's layout, and a bias (O); ``made_from`` says of what."""

    made_from: tuple[object, ...]
    places: tuple[Tensor, ...]
    bias: Tensor


_KEPT: WeakKeyDictionary[nn.Module, _Transformed] = WeakKeyDictionary()


def conv2d(layer: nn.Module, x: Tensor, norm: nn.Module | None = None, *, relu: bool = False) -> Tensor:
    """``layer(x)``, then ``norm`` and a ReLU if asked for.

    In inference on a CPU in float32 (no gradients, no autocast) a large 3x3 convolution of stride 1 runs by tiles, with
    a batch norm and the ReLU in the same pass.  The layer stays an ordinary ``nn.Conv2d`` in the ordinary place: see
    :func:`internimage.ops.linear`.  ``INTERNIMAGE_WINOGRAD=0`` leaves it out.

    Args:
        layer: the convolution; any other layer is called.
        x: (N, C, H, W), in any memory format.
        norm: the module after it.
        relu: whether a ReLU follows.

    Returns:
        (N, O, H', W'), by tiles in the memory format channels last.
    """
    if type(layer) is not nn.Conv2d or not _served(layer, x):
        if torch.is_grad_enabled():  # in inference the next map may be a larger one
            _KEPT.pop(layer, None)
        result = layer(x)
        result = result if norm is None else norm(result)
        return F.relu(result) if relu else result
    folded = norm if type(norm) is nn.BatchNorm2d and _is_fixed(norm) else None
    fused = relu and (norm is None or folded is not None)
    result = _by_tiles(x, _transformed(layer, folded), fused)
    if norm is not None and folded is None:
        result = norm(result)
    return F.relu(result) if relu and not fused else result


def _served(layer: nn.Conv2d, x: Tensor) -> bool:
    """Whether the convolution is one that tiles are faster for, and nothing watches it."""
    return bool(
        layer.kernel_size == (3, 3)
        and layer.stride == layer.dilation == layer.padding == (1, 1)
        and (layer.groups, layer.padding_mode) == (1, "zeros")
        and x.dim() == 4
        and x.shape[1] == layer.in_channels  # otherwise the layer itself explains what is wrong
        and min(layer.in_channels, layer.out_channels) >= _LEAST_CHANNELS
        and x.numel() * layer.out_channels * 9 >= _LEAST
        and x.dtype == torch.float32
        and is_plain_inference(x, layer.weight)
        and is_plain(layer)
        and torch.backends.mkldnn.enabled
        and _is_here()
    )


def _is_fixed(norm: nn.BatchNorm2d) -> bool:
    """Whether a batch norm is one multiplication and one addition a channel."""
    statistics, weights = (norm.running_mean, norm.running_var), (norm.weight, norm.bias)
    return (
        not norm.training
        and is_plain(norm)
        and all(type(one) is Tensor and one.is_cpu and one.dtype == torch.float32 for one in statistics)
        and all(type(one) is nn.Parameter and one.is_cpu and one.dtype == torch.float32 for one in weights)
    )


@functools.cache
def _is_here() -> bool:
    """Whether this machine has what it takes, and nobody asked to leave it out."""
    return (
        os.environ.get("INTERNIMAGE_WINOGRAD", "1") != "0"
        and native.load()[0] is not None
        and torch.float32 in least_multiplications()
    )


def _transformed(layer: nn.Conv2d, norm: nn.BatchNorm2d | None) -> _Transformed:
    tensors = [layer.weight, *([] if layer.bias is None else [layer.bias])]
    if norm is not None:
        tensors += [norm.weight, norm.bias, norm.running_mean, norm.running_var]  # type: ignore[list-item]
    made_from = tuple((_digest(one), one.stride()) for one in tensors)
    kept = _KEPT.get(layer)
    if kept is None or kept.made_from != made_from:
        kept = _KEPT[layer] = _transform(layer, norm, made_from)
    return kept


def _digest(tensor: Tensor) -> int:
    """Of the bits, in the order in which they lie."""
    dense = tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)
    return int(torch.ops.internimage.digest(tensor if dense else tensor.contiguous()))


def _transform(layer: nn.Conv2d, norm: nn.BatchNorm2d | None, made_from: tuple[object, ...]) -> _Transformed:
    count = layer.out_channels
    scale, bias = torch.ones(count), torch.zeros(count) if layer.bias is None else layer.bias.detach()
    if norm is not None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        bias = norm.bias.double() + (bias - norm.running_mean.double()) * scale
    places = torch.empty(36, count, layer.in_channels)
    matrix = _matrix()
    for start in range(0, count, 32):  # the numbers between are float64 and 36 for each of 9
        some = layer.weight[start : start + 32].double() * scale[start : start + 32, None, None, None]
        places[:, start : start + 32] = torch.einsum("iy,ocyx,jx->ijoc", matrix, some, matrix).flatten(0, 1)
    packed = tuple(torch.ops.mkldnn._reorder_linear_weight(one, _TILES) for one in places)
    return _Transformed(made_from, packed, bias.float().contiguous())


def _matrix() -> Tensor:
    """What three numbers of a kernel become: values at six points of the polynomial that they are, scaled."""
    points = (0.0, _NEAR, -_NEAR, _FAR, -_FAR)
    rows = []
    for point in points:
        scale = 1.0
        for other in points:
            scale *= 1.0 if other == point else point - other
        rows.append([1 / scale, point / scale, point**2 / scale])
    return torch.tensor([*rows, [0.0, 0.0, 1.0]], dtype=torch.float64)


def _by_tiles(x: Tensor, kernel: _Transformed, relu: bool) -> Tensor:
    maps = x.permute(0, 2, 3, 1).contiguous()
    batch, height, width, _ = maps.shape
    output = maps.new_empty(batch, height, width, len(kernel.bias))
    tiles = batch * -(-height // 4) * -(-width // 4)
    parts = -(-tiles // _TILES)
    together = -(-tiles // parts)
    for first in range(0, tiles, together):
        seen = torch.ops.internimage.winograd_transform(maps, first, min(together, tiles - first))
        products = [
            torch.ops.mkldnn._linear_pointwise(one, place, None, "none", [], "")
            for one, place in zip(seen, kernel.places, strict=True)
        ]
        torch.ops.internimage.winograd_untransform(output, products, kernel.bias, relu, first)
    return output.permute(0, 3, 1, 2)
