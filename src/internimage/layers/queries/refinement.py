"""Boxes as reference points that every decoder layer refines (Deformable DETR, section A.4; DAB-DETR; DINO)."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from internimage.layers.attention import sine_embedding

_EPSILON = 1e-3
_PRIOR = 0.01  # probability of a class at the start


def inverse_sigmoid(x: Tensor, epsilon: float = _EPSILON) -> Tensor:
    """Logits of numbers in [0, 1], limited in size to the logarithm of ``epsilon``, about 7."""
    x = x.clamp(0, 1)
    return (x.clamp(min=epsilon) / (1 - x).clamp(min=epsilon)).log()


def refine_boxes(boxes: Tensor, delta: Tensor) -> Tensor:
    """Boxes (..., 4), cxcywh relative to the image, moved by ``delta`` (..., 4) in logits."""
    return (delta.float() + inverse_sigmoid(boxes)).sigmoid()


def reference_points(boxes: Tensor, shares: Tensor) -> Tensor:
    """Boxes (N, Q, 4) relative to the image as boxes (N, Q, L, 4) relative to padded maps.

    ``shares`` (N, L, 2) is how much of each map's width and height the image fills.
    """
    return boxes[:, :, None] * shares.repeat(1, 1, 2)[:, None]


def box_embedding(boxes: Tensor, channels: int) -> Tensor:
    """Sine embedding (N, Q, 2 * channels) of boxes (N, Q, 4): y, x, width, height, a quarter each (DAB-DETR)."""
    return sine_embedding(boxes[..., [1, 0, 2, 3]], channels // 2).flatten(2)


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLUs between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def focal_classifier(channels: int, num_classes: int) -> nn.Linear:
    """A linear layer whose classes all start at a probability of 0.01 (Lin et al., Focal Loss, 2017, section 3.3)."""
    layer = nn.Linear(channels, num_classes)
    nn.init.constant_(layer.bias, -math.log((1 - _PRIOR) / _PRIOR))
    return layer


def box_regressor(channels: int) -> nn.Sequential:
    """Three linear layers to a box's delta, which starts at zero."""
    layers = mlp(channels, channels, channels, 4)
    for parameter in layers[-1].parameters():
        nn.init.zeros_(parameter)
    return layers
