"""An architecture: a backbone and one number for each kind of object."""

from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor, nn

from internimage.backbones.config import InternImageConfig
from internimage.backbones.internimage import InternImage
from internimage.models.model import Model


@dataclass(frozen=True)
class CounterConfig:
    backbone: InternImageConfig
    num_classes: int = 1


class Counter(Model):
    """Images (N, 3, H, W) to counts (N, num_classes): a density for each pixel of the finest map, added up."""

    class_tensors = ("density.*",)

    def __init__(self, config: CounterConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = InternImage(config.backbone)
        self.reset_classifier(config.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.density(self.backbone(images)[0]).sum((2, 3))

    def losses(self, images: Tensor, counts: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"distance": F.smooth_l1_loss(self(images), counts)}

    def reset_classifier(self, num_classes: int) -> None:
        self.density = nn.Conv2d(self.config.backbone.channels, num_classes, 1)
        nn.init.zeros_(self.density.weight)
        self.config = replace(self.config, num_classes=num_classes)
