"""Ordinary parts of the backbones: norms, stochastic depth, the MLP.  Maps are channels last, (N, H, W, C)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from internimage.backbones.config import Activation, NormLayer
from internimage.errors import ConfigError, InputSizeError
from internimage.ops import LayerNorm, conv2d, two_linear

ACTIVATIONS: dict[Activation, type[nn.Module]] = {"gelu": nn.GELU, "silu": nn.SiLU, "relu": nn.ReLU}
_LAYER_NORM_EPS = 1e-6
_BATCH_NORM_EPS = 1e-5


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation of channels-last maps (N, H, W, C)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class SyncBatchNorm(nn.SyncBatchNorm):
    """:class:`BatchNorm` with statistics over all processes."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def layer_norm(channels: int) -> nn.LayerNorm:
    """LayerNorm over the last dimension with the epsilon of the released models."""
    return LayerNorm(channels, eps=_LAYER_NORM_EPS)


def norm(kind: NormLayer, channels: int) -> nn.Module:
    return layer_norm(channels) if kind == "layer" else BatchNorm(channels, eps=_BATCH_NORM_EPS)


def convolve(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply an NCHW convolution to a channels-last map; both permutes are views."""
    return conv2d(convolution, x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def check_images(images: Tensor, channels: int) -> None:
    """Raise :class:`InputSizeError` unless images are (N, ``channels``, H, W), floating point."""
    if images.dim() != 4 or images.shape[1] != channels or not images.is_floating_point():
        raise InputSizeError(
            f"images are {tuple(images.shape)}, {images.dtype}; expected (N, {channels}, H, W) "
            "floating point, normalised as the model's preprocessing says (Predictor takes pictures as they are)"
        )


def checked_stages(out_indices: Sequence[int], count: int) -> tuple[int, ...]:
    """``out_indices`` of a backbone of ``count`` stages.

    Raises:
        ConfigError: they are not ascending, there are none, or there is no such stage.
    """
    indices = tuple(out_indices)
    if not indices or indices != tuple(sorted(set(indices) & set(range(count)))):
        raise ConfigError(f"out_indices {indices} are not ascending stage numbers from 0 to {count - 1}")
    return indices


def set_drop_paths(network: nn.Module, rate: float) -> None:
    """Rates of a network's :class:`DropPath`, which rise linearly from 0 to ``rate``.

    Raises:
        ConfigError: not 0 <= rate < 1.
    """
    if not 0.0 <= rate < 1.0:
        raise ConfigError(f"drop path rate is {rate}; expected 0 <= rate < 1")
    paths = [module for module in network.modules() if isinstance(module, DropPath)]
    for index, path in enumerate(paths):
        path.rate = rate * index / max(1, len(paths) - 1)


class DropPath(nn.Module):
    """Stochastic depth: drop a whole residual branch per sample while training.

    Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016.  Kept branches are divided by the keep probability.
    (torchvision has the same layer; importing torchvision takes seconds.)
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    @property
    def drops(self) -> bool:
        """Whether it changes anything now."""
        return self.training and self.rate > 0.0

    def forward(self, x: Tensor) -> Tensor:
        if not self.drops:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty(x.shape[0], *(1 for _ in x.shape[1:])).bernoulli_(keep)
        return x * (mask / keep if keep > 0.0 else mask)


class MLP(nn.Module):
    """Two linear layers around a non-linearity."""

    def __init__(self, channels: int, hidden: int, activation: Activation, *, bias: bool = True) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.activation = ACTIVATIONS[activation]()
        self.fc2 = nn.Linear(hidden, channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return two_linear(self.fc1, self.activation, self.fc2, x)


def initialise_linear(layer: nn.Linear, std: float | None) -> None:
    """Weights of a truncated normal distribution, by default 1 / sqrt(inputs), and no bias."""
    nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5 if std is None else std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def inflated(convolution: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A convolution for images of other channels: of one, the sum of its weights; of more, its weights in turn.

    Those are scaled by the ratio of the numbers of channels, so that their sum stays about what it was (timm's rule).
    """
    weight = convolution.weight.detach()
    own = weight.shape[1]
    if channels == 1:
        repeated = weight.sum(1, keepdim=True)
    else:
        repeated = weight[:, torch.arange(channels) % own] * (own / channels)
    size, stride, padding = convolution.kernel_size, convolution.stride, convolution.padding
    new = nn.Conv2d(channels, weight.shape[0], size, stride, padding, device="meta", dtype=weight.dtype)  # type: ignore[arg-type]
    new.weight = nn.Parameter(repeated.contiguous(memory_format=torch.channels_last))
    new.bias = convolution.bias
    return new


def recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """``block(x)``, whose activations are computed again in the backward pass."""
    norms = [module for module in block.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms or torch.compiler.is_compiling():  # a compiled graph changes buffers once
        return checkpoint(block, x, use_reentrant=False)
    return checkpoint(block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _kept_statistics(norms)))


@contextmanager
def _kept_statistics(norms: Sequence[nn.Module]) -> Iterator[None]:
    """Batch normalisation counts a batch once: the second time, copies of its statistics are updated."""
    buffers = [(module, name, buffer) for module in norms for name, buffer in module.named_buffers()]
    for module, name, buffer in buffers:
        setattr(module, name, buffer.clone())
    try:
        yield
    finally:
        for module, name, buffer in buffers:
            setattr(module, name, buffer)
