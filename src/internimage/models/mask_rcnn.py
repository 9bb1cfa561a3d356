"""Mask R-CNN (He et al., 2017, https://arxiv.org/abs/1703.06870) on InternImage with a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import torch
from torch import Tensor

from internimage.backbones.config import InternImageConfig
from internimage.backbones.internimage import InternImage
from internimage.layers.boxes import decode
from internimage.layers.finite import check_finite
from internimage.layers.fpn import FPN
from internimage.layers.rcnn.detections import detect_masks, select
from internimage.layers.rcnn.roi_heads import BoxHead, MaskHead, reset_classes, roi_features, with_image_numbers
from internimage.layers.rcnn.roi_losses import box_losses, mask_loss, sample_rois
from internimage.layers.rcnn.rpn import RPN, ProposalConfig
from internimage.models.model import Model, ReleasedOptimizer
from internimage.structures.detection import DetectionConfig, DetectionTarget, RawDetections


@dataclass(frozen=True)
class MaskRCNNConfig:
    """Architecture of a Mask R-CNN.

    Attributes:
        backbone: the backbone's architecture.
        num_classes: classes of objects, background not counted.
        channels: width of the feature pyramid.
        neck_norm: whether its convolutions are followed by LayerNorm.
        anchor_scale: side of the smallest square anchor over the finest map's stride of 4 pixels; that of the objects
            should not be less than half of it.
        box_width: of the box head's linear layers.
        mask_width: of the mask head's convolutions; None for boxes alone.
        proposals, detections: what passes from stage to stage in inference.
        sampled_regions: RoIs of an image that a head learns from.
    """

    backbone: InternImageConfig
    num_classes: int = 80
    channels: int = 256
    neck_norm: bool = False
    anchor_scale: int = 8
    box_width: int = 1024
    mask_width: int | None = 256
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    detections: DetectionConfig = field(default_factory=DetectionConfig)
    sampled_regions: int = 512


class MaskRCNN(Model):
    """Images (N, 3, H, W), RGB, normalised and padded at the right and bottom, to objects."""

    class_tensors = ("box_head.classifier.*", "box_head.regressor.*", "mask_head.logits.*")
    background = 1
    released_optimizer = ReleasedOptimizer(by_layer=True)
    stds = (0.1, 0.1, 0.2, 0.2)
    training_proposals = ProposalConfig(each_level=2000, keep=1000)

    def __init__(self, config: MaskRCNNConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = InternImage(config.backbone)
        self.neck = FPN(config.backbone.stage_channels, config.channels, norm=config.neck_norm)
        self.rpn = RPN(config.channels, config.anchor_scale)
        self.box_head = BoxHead(config.channels, config.num_classes, width=config.box_width)
        self.mask_head = (
            MaskHead(config.channels, config.num_classes, width=config.mask_width) if config.mask_width else None
        )

    def reset_classifier(self, num_classes: int) -> None:
        reset_classes(self, num_classes)
        self.config = replace(self.config, num_classes=num_classes)

    @property
    def has_masks(self) -> bool:
        """Whether it predicts masks beside boxes."""
        return self.mask_head is not None

    def remove_masks(self) -> None:
        """Go on with boxes alone."""
        self.mask_head = None
        self.config = replace(self.config, mask_width=None)

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]], scales: Tensor) -> list[RawDetections]:
        """The objects of each image.

        Args:
            images: (N, 3, H, W), RGB, normalised, padded at the right and bottom.
            sizes: (height, width) of each image without padding.
            scales: (N, 4) how much larger each is than the original, in x, y, x, y.
        """
        maps = self.neck(self.backbone(images))
        outputs = self.rpn(maps)
        check_finite(*chain(*outputs))  # NaN would just propose nothing
        proposals = [boxes for boxes, _ in self.rpn.propose(outputs, sizes, self.config.proposals)]
        found = self.detect_boxes(maps, proposals, sizes, scales)
        heads = [] if self.mask_head is None else [self.mask_head]
        return detect_masks(heads, maps[:-1], self.rpn.strides[:-1], found, scales)

    def losses(  # type: ignore[override]
        self, images: Tensor, sizes: Sequence[tuple[int, int]], targets: Sequence[DetectionTarget]
    ) -> dict[str, Tensor]:
        """Class and box of the proposal network and of the head, and the masks.

        Args:
            images, sizes: see :meth:`forward`.
            targets: the objects of each image, in pixels of ``images``.
        """
        maps = self.neck(self.backbone(images))
        return self.losses_on(maps, self.rpn(maps), sizes, targets)

    def losses_on(
        self,
        maps: Sequence[Tensor],
        outputs: Sequence[tuple[Tensor, Tensor]],
        sizes: Sequence[tuple[int, int]],
        targets: Sequence[DetectionTarget],
    ) -> dict[str, Tensor]:
        """:meth:`losses`, from the pyramid's maps and what the proposal network makes of them."""
        result = dict(zip(("rpn_class", "rpn_box"), self.rpn.losses(outputs, sizes, targets), strict=True))
        with torch.no_grad():
            proposals = self.rpn.propose(outputs, sizes, self.training_proposals)
            sampled = [
                sample_rois(boxes, truth, 0.5, low_quality=True, count=self.config.sampled_regions)
                for (boxes, _), truth in zip(proposals, targets, strict=True)
            ]
        rois = with_image_numbers([one.boxes for one in sampled])
        logits, deltas = self.box_head(roi_features(maps[:-1], self.rpn.strides[:-1], rois, BoxHead.size))
        result["class"], result["box"] = box_losses(logits, deltas, sampled, targets, self.stds, "l1")
        if self.mask_head is not None:
            rois = with_image_numbers([one.boxes[: len(one.objects)] for one in sampled])
            features = roi_features(maps[:-1], self.rpn.strides[:-1], rois, MaskHead.size)
            result["mask"] = mask_loss(self.mask_head(features), sampled, targets)
        return result

    def detect_boxes(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]], scales: Tensor
    ) -> list[RawDetections]:
        """Classify and refine ``proposals`` (K, 4) of each image, in pixels of the padded images."""
        rois = with_image_numbers(proposals)
        logits, deltas = self.box_head(roi_features(maps[:-1], self.rpn.strides[:-1], rois, BoxHead.size))
        results = []
        each = [(logits, deltas)]
        if len(proposals) > 1:
            counts = [len(boxes) for boxes in proposals]
            each = list(zip(logits.split(counts), deltas.split(counts), strict=True))
        for boxes, (logit, delta), size, scale in zip(proposals, each, sizes, scales, strict=True):
            refined = decode(boxes, delta, self.stds, size) / scale
            results.append(select(refined, logit.float().softmax(-1)[:, :-1], self.config.detections))
        return results
