"""Ordinary parts of the backbone: norms, stochastic depth, the MLP.  Maps are channels last, (N, H, W, C)."""

from __future__ import annotations

from torch import Tensor, nn

from internimage.backbones.config import Activation, NormLayer
from internimage.ops import LayerNorm, linear

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
    return convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class DropPath(nn.Module):
    """Stochastic depth: drop a whole residual branch per sample while training.

    Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016.  Kept branches are divided by the keep probability.
    (torchvision has the same layer; importing torchvision takes seconds.)
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
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
        return linear(self.fc2, linear(self.fc1, x, self.activation))


def initialise_linear(layer: nn.Linear, std: float | None) -> None:
    """Weights of a truncated normal distribution, by default 1 / sqrt(inputs), and no bias."""
    nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5 if std is None else std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
