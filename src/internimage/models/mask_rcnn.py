"""Mask R-CNN (He et al., 2017, https://arxiv.org/abs/1703.06870) on InternImage with a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from internimage.backbones.internimage import InternImage, InternImageConfig
from internimage.description import ModelDescription
from internimage.layers.boxes import decode
from internimage.layers.detection import DetectionConfig, RawDetections, detect_masks, select
from internimage.layers.fpn import FPN
from internimage.layers.roi_heads import BoxHead, MaskHead, region_features, with_image_numbers
from internimage.layers.rpn import RPN, ProposalConfig


@dataclass(frozen=True)
class MaskRCNNConfig:
    """Architecture of a Mask R-CNN.

    Attributes:
        backbone: the backbone's architecture.
        num_classes: classes of objects, background not counted.
        channels: width of the feature pyramid.
        box_width: of the box head's linear layers.
        mask_width: of the mask head's convolutions; None for boxes alone.
        proposals, detections: what passes from stage to stage in inference.
    """

    backbone: InternImageConfig
    num_classes: int = 80
    channels: int = 256
    box_width: int = 1024
    mask_width: int | None = 256
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    detections: DetectionConfig = field(default_factory=DetectionConfig)


class MaskRCNN(nn.Module):
    """Images (N, 3, H, W), RGB, normalised and padded at the right and bottom, to objects."""

    description: ModelDescription | None = None
    stds = (0.1, 0.1, 0.2, 0.2)

    def __init__(self, config: MaskRCNNConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = InternImage(config.backbone)
        self.neck = FPN(config.backbone.stage_channels, config.channels)
        self.rpn = RPN(config.channels)
        self.box_head = BoxHead(config.channels, config.num_classes, width=config.box_width)
        self.mask_head = (
            MaskHead(config.channels, config.num_classes, width=config.mask_width) if config.mask_width else None
        )

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]], scales: Tensor) -> list[RawDetections]:
        """Find objects.

        Args:
            images: (N, 3, H, W).
            sizes: (height, width) of each image without padding.
            scales: (N, 4) how much larger each is than the original, in x, y, x, y.
        """
        maps = self.neck(self.backbone(images))
        proposals = self.rpn.propose(self.rpn(maps), sizes, self.config.proposals)
        found = self.detect_boxes(maps, [boxes for boxes, _ in proposals], sizes, scales)
        heads = [] if self.mask_head is None else [self.mask_head]
        return detect_masks(heads, maps[:-1], self.rpn.strides[:-1], found, scales)

    def detect_boxes(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]], scales: Tensor
    ) -> list[RawDetections]:
        """Classify and refine ``proposals`` (K, 4) of each image, in pixels of the padded images."""
        rois = with_image_numbers(proposals)
        logits, deltas = self.box_head(region_features(maps[:-1], self.rpn.strides[:-1], rois, BoxHead.size))
        results = []
        counts = [len(boxes) for boxes in proposals]
        parts = zip(proposals, logits.split(counts), deltas.split(counts), sizes, scales, strict=True)
        for boxes, logit, delta, size, scale in parts:
            refined = decode(boxes, delta, self.stds, size) / scale
            results.append(select(refined, logit.softmax(-1)[:, :-1], self.config.detections))
        return results
