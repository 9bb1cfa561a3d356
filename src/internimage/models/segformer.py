"""The decoder of SegFormer (Xie et al., 2021, https://arxiv.org/abs/2105.15203) on InternImage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from internimage.backbones.config import InternImageConfig
from internimage.backbones.internimage import InternImage
from internimage.layers.convolution import ConvNorm
from internimage.layers.segmentation import class_layer, pixel_loss, resize
from internimage.models.model import Model, ReleasedOptimizer
from internimage.settings.views import Window


@dataclass(frozen=True)
class SegFormerConfig:
    """Architecture of a SegFormer.

    Attributes:
        backbone: the backbone's architecture.
        num_classes: maps of logits.
        channels: width of the decoder.
        dropout: share of channels dropped before the classifier in training.
        window: parts that a picture is looked at in; None for the whole.
    """

    backbone: InternImageConfig
    num_classes: int = 150
    channels: int = 256
    dropout: float = 0.1
    window: Window | None = None


class SegFormerDecoder(nn.Module):
    """All maps at one width and the finest's size, mixed by a convolution (1x1)."""

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(ConvNorm(width, channels, 1) for width in in_channels)
        self.fusion = ConvNorm(len(in_channels) * channels, channels, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (N, C_i, H_i, W_i), fine to coarse, to (N, channels, H_0, W_0)."""
        together = [
            resize(convolution(one), maps[0].shape[2:]) for convolution, one in zip(self.lateral, maps, strict=True)
        ]
        result: Tensor = self.fusion(torch.cat(together, dim=1))
        return result


class SegFormer(Model):
    """Images (N, 3, H, W), RGB, normalised, to a map of logits for each class."""

    released_optimizer = ReleasedOptimizer(by_layer=True, spared_by_name=True)

    def __init__(self, config: SegFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = InternImage(config.backbone)
        self.decoder = SegFormerDecoder(config.backbone.stage_channels, config.channels)
        self.dropout = nn.Dropout2d(config.dropout)
        self.classifier = class_layer(config.channels, config.num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        parameter = next(self.backbone.parameters())
        self.classifier = class_layer(self.config.channels, num_classes).to(parameter)
        self.config = replace(self.config, num_classes=num_classes)

    def forward(self, images: Tensor, *, coarse: bool = False) -> Tensor:
        """Logits (N, K, H, W); see :meth:`UperNet.forward`."""
        logits = self.logits(self.backbone(images))
        return logits if coarse else resize(logits, images.shape[2:])

    def losses(self, images: Tensor, truth: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """Cross-entropy; see :meth:`UperNet.losses`."""
        return {"pixels": pixel_loss(self.logits(self.backbone(images)), truth)}

    def logits(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps of the backbone to logits (N, K, H / 4, W / 4)."""
        result: Tensor = self.classifier(self.dropout(self.decoder(maps)))
        return result
