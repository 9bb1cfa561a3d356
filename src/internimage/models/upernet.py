"""UperNet (Xiao et al., 2018, https://arxiv.org/abs/1807.10221) on InternImage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from internimage.backbones.config import InternImageConfig
from internimage.backbones.internimage import InternImage
from internimage.layers.convolution import ConvNorm
from internimage.layers.segmentation import AuxiliaryHead, average_to_grid, class_layer, pixel_loss, resize
from internimage.models.model import Model, ReleasedOptimizer
from internimage.settings.views import Window

_AUXILIARY_WEIGHT = 0.4
_AUXILIARY_LEVEL = 2


@dataclass(frozen=True)
class UperNetConfig:
    """Architecture of an UperNet.

    Attributes:
        backbone: the backbone's architecture.
        num_classes: maps of logits.
        channels: width of the decoder.
        pool_sizes: sides of the grids that the coarsest map is averaged to.
        auxiliary_channels: width of a second head on the map of stride 16, for training; None for none.
        dropout: share of channels dropped before the classifier in training.
        window: parts that a picture is looked at in; None for the whole.
    """

    backbone: InternImageConfig
    num_classes: int = 150
    channels: int = 512
    pool_sizes: tuple[int, ...] = (1, 2, 3, 6)
    auxiliary_channels: int | None = 256
    dropout: float = 0.1
    window: Window | None = None


class UperDecoder(nn.Module):
    """Pyramid pooling of the coarsest map, a feature pyramid of all, and their sum at the finest's size."""

    def __init__(self, in_channels: Sequence[int], channels: int, pool_sizes: Sequence[int]) -> None:
        super().__init__()
        *finer, coarsest = in_channels
        self.pool_sizes = tuple(pool_sizes)
        self.pools = nn.ModuleList(ConvNorm(coarsest, channels, 1) for _ in pool_sizes)
        self.bottleneck = ConvNorm(coarsest + len(pool_sizes) * channels, channels, 3)
        self.lateral = nn.ModuleList(ConvNorm(width, channels, 1) for width in finer)
        self.output = nn.ModuleList(ConvNorm(channels, channels, 3) for _ in finer)
        self.fusion = ConvNorm(len(in_channels) * channels, channels, 3)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (N, C_i, H_i, W_i), fine to coarse, to (N, channels, H_0, W_0)."""
        *finer, coarsest = maps
        pooled = [
            resize(convolution(average_to_grid(coarsest, side)), coarsest.shape[2:])
            for side, convolution in zip(self.pool_sizes, self.pools, strict=True)
        ]
        inner = [convolution(one) for convolution, one in zip(self.lateral, finer, strict=True)]
        inner.append(self.bottleneck(torch.cat([coarsest, *pooled], dim=1)))
        for level in range(len(inner) - 1, 0, -1):
            inner[level - 1] = inner[level - 1] + resize(inner[level], inner[level - 1].shape[2:])
        outputs = [convolution(one) for convolution, one in zip(self.output, inner[:-1], strict=True)]
        together = [resize(one, inner[0].shape[2:]) for one in (*outputs, inner[-1])]
        result: Tensor = self.fusion(torch.cat(together, dim=1))
        return result


class UperNet(Model):
    """Images (N, 3, H, W), RGB, normalised, to a map of logits for each class."""

    class_tensors = ("classifier.*", "auxiliary.classifier.*")
    smallest_batch = 2  # batch normalisation of one mean of each image
    released_optimizer = ReleasedOptimizer(by_layer=True, spared_by_name=True)

    def __init__(self, config: UperNetConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = InternImage(config.backbone)
        widths = config.backbone.stage_channels
        self.decoder = UperDecoder(widths, config.channels, config.pool_sizes)
        self.dropout = nn.Dropout2d(config.dropout)
        self.classifier = class_layer(config.channels, config.num_classes)
        self.auxiliary: AuxiliaryHead | None = None
        if config.auxiliary_channels is not None:
            width = widths[_AUXILIARY_LEVEL]
            self.auxiliary = AuxiliaryHead(width, config.auxiliary_channels, config.num_classes, config.dropout)

    def reset_classifier(self, num_classes: int) -> None:
        parameter = next(self.backbone.parameters())
        self.classifier = class_layer(self.config.channels, num_classes).to(parameter)
        if self.auxiliary is not None:
            self.auxiliary.classifier = class_layer(self.auxiliary.classifier.in_channels, num_classes).to(parameter)
        self.config = replace(self.config, num_classes=num_classes)

    def forward(self, images: Tensor, *, coarse: bool = False) -> Tensor:
        """Logits (N, K, H, W).

        Args:
            images: (N, 3, H, W), RGB, normalised.
            coarse: leave the logits as the network makes them, (N, K, H / 4, W / 4).
        """
        logits = self.logits(self.backbone(images))
        return logits if coarse else resize(logits, images.shape[2:])

    def losses(self, images: Tensor, truth: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """Cross-entropy of both heads.

        Args:
            images: (N, 3, H, W).
            truth: (N, H, W) int64 class numbers, -1 where unknown.
        """
        maps = self.backbone(images)
        losses = {"pixels": pixel_loss(self.logits(maps), truth)}
        if self.auxiliary is not None:
            losses["auxiliary"] = _AUXILIARY_WEIGHT * pixel_loss(self.auxiliary(maps[_AUXILIARY_LEVEL]), truth)
        return losses

    def logits(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps of the backbone to logits (N, K, H / 4, W / 4)."""
        result: Tensor = self.classifier(self.dropout(self.decoder(maps)))
        return result
