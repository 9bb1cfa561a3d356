"""Heads on RoIs: features of a box, its class and refined place, its mask (He et al., Mask R-CNN, 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.layers.convolution import ConvNorm
from internimage.ops import conv2d

_FINEST_SIZE = 56.0  # pixels: boxes up to twice this size come from the finest map


def roi_features(maps: Sequence[Tensor], strides: Sequence[int], rois: Tensor, size: int) -> Tensor:
    """RoIAlign (aligned, as many samples as pixels): (R, C, size, size) from the map that suits each box.

    Args:
        maps: (N, C, H_i, W_i), fine to coarse.
        strides: of the maps, in pixels.
        rois: (R, 5) image number and box in pixels.  A box of size s comes from level floor(log2(s / 56)).
        size: side of the result.
    """
    from torchvision.ops import roi_align

    extent = ((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])).sqrt()
    level = torch.floor(torch.log2(extent / _FINEST_SIZE + 1e-6)).clamp(0, len(maps) - 1).long()
    result = maps[0].new_zeros(rois.shape[0], maps[0].shape[1], size, size)
    for index, (one, stride) in enumerate(zip(maps, strides, strict=True)):
        chosen = (level == index).nonzero()[:, 0]
        if torch.compiler.is_exporting() or len(chosen):
            wide = one if one.dtype == rois.dtype else one.float()  # pixels have no place in half precision
            features = roi_align(wide, rois[chosen], size, spatial_scale=1 / stride, sampling_ratio=0, aligned=True)
            result = result.index_copy(0, chosen, features.to(result.dtype))
    return result


def with_image_numbers(boxes: Sequence[Tensor]) -> Tensor:
    """Boxes (K_i, 4) of each image as (sum of K_i, 5), the image's number first."""
    return torch.cat([torch.cat([one.new_full((one.shape[0], 1), i), one], dim=1) for i, one in enumerate(boxes)])


class BoxHead(nn.Module):
    """Class and box of RoIs (R, C, 7, 7): convolutions with BatchNorm, linear layers, two predictions.

    Args:
        channels: C.
        num_classes: K, background not counted; it is the last of K + 1 logits.
        convolutions, linears: how many of each.
        width: of the linear layers.
        box_per_class: predict a box for each class instead of one for all.
    """

    size = 7

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        convolutions: int = 0,
        linears: int = 2,
        width: int = 1024,
        box_per_class: bool = True,
    ) -> None:
        super().__init__()
        self.classifier = _normal(nn.Linear(width, num_classes + 1), 0.01)
        self.regressor = _normal(nn.Linear(width, 4 * (num_classes if box_per_class else 1)), 0.001)
        self.convolutions = nn.ModuleList(ConvNorm(channels, channels, 3) for _ in range(convolutions))
        inputs = [channels * self.size**2, *(width for _ in range(linears - 1))]
        self.linears = nn.ModuleList(nn.Linear(count, width) for count in inputs)
        self.box_per_class = box_per_class
        for layer in self.linears:
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def reset_classes(self, num_classes: int) -> None:
        """Start the class anew for another number of classes, and the box if there is one for each."""
        like, width = next(self.linears.parameters()), self.classifier.in_features
        self.classifier = _normal(nn.Linear(width, num_classes + 1), 0.01).to(like)
        if self.box_per_class:
            self.regressor = _normal(nn.Linear(width, 4 * num_classes), 0.001).to(like)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (R, K + 1) and deltas (R, K or 1, 4)."""
        x = features
        for convolution in self.convolutions:
            x = convolution(x)
        x = x.flatten(1)
        for linear in self.linears:
            x = F.relu(linear(x))
        return self.classifier(x), self.regressor(x).unflatten(1, (-1, 4))


class MaskHead(nn.Module):
    """Masks of RoIs (R, C, 14, 14): four convolutions, upsampling, a logit for each class.

    Args:
        channels: C.
        num_classes: K.
        width: of the convolutions.
        convolutions: how many.
    """

    size = 14

    def __init__(self, channels: int, num_classes: int, *, width: int = 256, convolutions: int = 4) -> None:
        super().__init__()
        inputs = [channels, *(width for _ in range(convolutions - 1))]
        self.convolutions = nn.ModuleList(nn.Conv2d(count, width, 3, padding=1) for count in inputs)
        self.upsample = nn.ConvTranspose2d(width, width, 2, stride=2)
        for layer in (*self.convolutions, self.upsample):
            _initialise(layer)
        self.reset_classes(num_classes)

    def reset_classes(self, num_classes: int) -> None:
        """Start the last layer anew, for another number of classes."""
        like = self.upsample.weight
        self.logits = nn.Conv2d(like.shape[1], num_classes, 1, device=like.device, dtype=like.dtype)
        _initialise(self.logits)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (R, K, 28, 28)."""
        x = features
        for convolution in self.convolutions:
            x = conv2d(convolution, x, relu=True)
        return self.logits(F.relu(self.upsample(x)))


def reset_classes(model: nn.Module, num_classes: int) -> None:
    """Start anew what depends on the classes in all heads of ``model``."""
    for module in model.modules():
        if isinstance(module, BoxHead | MaskHead):
            module.reset_classes(num_classes)


def _normal(layer: nn.Linear, std: float) -> nn.Linear:
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer


def _initialise(layer: nn.Module) -> None:
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
