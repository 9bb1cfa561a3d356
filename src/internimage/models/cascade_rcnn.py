"""Cascade R-CNN (Cai and Vasconcelos, 2018, https://arxiv.org/abs/1712.00726) on InternImage with a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from internimage.backbones.config import InternImageConfig
from internimage.backbones.internimage import InternImage
from internimage.layers.boxes import decode
from internimage.layers.finite import check_finite
from internimage.layers.fpn import FPN
from internimage.layers.rcnn.detections import detect_masks, select
from internimage.layers.rcnn.roi_heads import BoxHead, MaskHead, reset_classes, roi_features, with_image_numbers
from internimage.layers.rcnn.roi_losses import BoxLoss, box_losses, mask_loss, roi_labels, sample_rois
from internimage.layers.rcnn.rpn import RPN, ProposalConfig
from internimage.models.model import Model, ReleasedOptimizer
from internimage.structures.detection import DetectionConfig, DetectionTarget, RawDetections


@dataclass(frozen=True)
class CascadeRCNNConfig:
    """Architecture of a Cascade R-CNN of three stages.

    Attributes:
        backbone: the backbone's architecture.
        num_classes: classes of objects, background not counted.
        channels: width of the feature pyramid.
        neck_norm: whether its convolutions are followed by LayerNorm.
        anchor_scale: side of the smallest square anchor over the finest map's stride of 4 pixels; that of the objects
            should not be less than half of it.
        box_convolutions, box_linears, box_width: layers of each stage's box head.
        box_per_class: predict a box for each class instead of one for all.
        box_loss: see :func:`internimage.layers.rcnn.roi_losses.box_losses`.
        mask_width: of the mask heads' convolutions; None for boxes alone.
        proposals, detections: what passes from stage to stage in inference.
        sampled_regions: RoIs of an image that a head learns from.
    """

    backbone: InternImageConfig
    num_classes: int = 80
    channels: int = 256
    neck_norm: bool = False
    anchor_scale: int = 8
    box_convolutions: int = 4
    box_linears: int = 1
    box_width: int = 1024
    box_per_class: bool = True
    box_loss: BoxLoss = "giou"
    mask_width: int | None = 256
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    detections: DetectionConfig = field(default_factory=DetectionConfig)
    sampled_regions: int = 512


@dataclass(frozen=True)
class Stage:
    """Output of one stage of the cascade: its RoIs (R, 5), logits (R, K + 1) and deltas (R, K or 1, 4)."""

    rois: Tensor
    logits: Tensor
    deltas: Tensor


class CascadeRCNN(Model):
    """Images (N, 3, H, W), RGB, normalised and padded at the right and bottom, to objects."""

    class_tensors = ("box_heads.#.classifier.*", "box_heads.#.regressor.*", "mask_heads.#.logits.*")
    background = 1
    released_optimizer = ReleasedOptimizer(by_layer=True)
    overlaps = (0.5, 0.6, 0.7)
    weights = (1.0, 0.5, 0.25)
    training_proposals = ProposalConfig(each_level=2000, keep=2000)
    stds = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))

    def __init__(self, config: CascadeRCNNConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = InternImage(config.backbone)
        self.neck = FPN(config.backbone.stage_channels, config.channels, norm=config.neck_norm)
        self.rpn = RPN(config.channels, config.anchor_scale)
        self.box_heads = nn.ModuleList(
            BoxHead(
                config.channels,
                config.num_classes,
                convolutions=config.box_convolutions,
                linears=config.box_linears,
                width=config.box_width,
                box_per_class=config.box_per_class,
            )
            for _ in self.stds
        )
        self.mask_heads = nn.ModuleList()
        if config.mask_width:
            self.mask_heads.extend(
                MaskHead(config.channels, config.num_classes, width=config.mask_width) for _ in self.stds
            )

    def reset_classifier(self, num_classes: int) -> None:
        reset_classes(self, num_classes)
        self.config = replace(self.config, num_classes=num_classes)

    @property
    def has_masks(self) -> bool:
        """Whether it predicts masks beside boxes."""
        return len(self.mask_heads) > 0

    def remove_masks(self) -> None:
        """Go on with boxes alone."""
        self.mask_heads = nn.ModuleList()
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
        found = self.detect_boxes(self.refine(maps, proposals, sizes), sizes, scales)
        return detect_masks(self.mask_heads, maps[:-1], self.rpn.strides[:-1], found, scales)

    def losses(  # type: ignore[override]
        self, images: Tensor, sizes: Sequence[tuple[int, int]], targets: Sequence[DetectionTarget]
    ) -> dict[str, Tensor]:
        """Class and box of the proposal network, and class, box and mask of each stage, which weigh less and less.

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
        rpn = self.rpn.losses(outputs, sizes, targets, inside=True, beta=1 / 9)
        result = dict(zip(("rpn_class", "rpn_box"), rpn, strict=True))
        with torch.no_grad():
            proposals = [boxes for boxes, _ in self.rpn.propose(outputs, sizes, self.training_proposals)]
        for number, (overlap, weight) in enumerate(zip(self.overlaps, self.weights, strict=True)):
            with torch.no_grad():
                sampled = [
                    sample_rois(boxes, truth, overlap, low_quality=False, count=self.config.sampled_regions)
                    for boxes, truth in zip(proposals, targets, strict=True)
                ]
            rois = with_image_numbers([one.boxes for one in sampled])
            logits, deltas = self.box_heads[number](self._features(maps, rois, BoxHead.size))
            losses = box_losses(logits, deltas, sampled, targets, self.stds[number], self.config.box_loss)
            result[f"class{number + 1}"], result[f"box{number + 1}"] = (weight * loss for loss in losses)
            if self.mask_heads:
                objects = with_image_numbers([one.boxes[: len(one.objects)] for one in sampled])
                masks = self.mask_heads[number](self._features(maps, objects, MaskHead.size))
                result[f"mask{number + 1}"] = weight * mask_loss(masks, sampled, targets)
            with torch.no_grad():
                labels = roi_labels(sampled, targets, self.config.num_classes)
                refined = self._next_rois(Stage(rois, logits, deltas), number, sizes, labels)
                own = torch.cat([one.own for one in sampled])
                proposals = [refined[(refined[:, 0] == i) & ~own, 1:] for i in range(len(sizes))]
        return result

    def refine(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Stage]:
        """Send ``proposals`` (K, 4) of each image, in pixels of the padded images, through the stages.

        A RoI goes on as the box of its most probable class, background aside.
        """
        stages: list[Stage] = []
        rois = with_image_numbers(proposals)
        for number, head in enumerate(self.box_heads):
            if stages:
                rois = self._next_rois(stages[-1], number - 1, sizes)
            logits, deltas = head(self._features(maps, rois, BoxHead.size))
            stages.append(Stage(rois, logits, deltas))
        return stages

    def _features(self, maps: Sequence[Tensor], rois: Tensor, size: int) -> Tensor:
        return roi_features(maps[:-1], self.rpn.strides[:-1], rois, size)

    def _next_rois(
        self, stage: Stage, number: int, sizes: Sequence[tuple[int, int]], labels: Tensor | None = None
    ) -> Tensor:
        """RoIs (R, 5) as their most probable class would have them, or their class in training if they have one."""
        rows = torch.arange(stage.rois.shape[0], device=stage.rois.device)
        column = stage.logits[:, :-1].argmax(1)
        if labels is not None:
            column = torch.where(labels < self.config.num_classes, labels, column)
        if stage.deltas.shape[1] == 1:
            column = torch.zeros_like(column)
        chosen = stage.deltas[rows, column]
        if len(sizes) == 1:
            boxes = decode(stage.rois[:, 1:], chosen[:, None], self.stds[number], sizes[0])[:, 0]
            return torch.cat([stage.rois[:, :1], boxes], dim=1)
        refined = torch.empty_like(stage.rois)
        refined[:, 0] = stage.rois[:, 0]
        for index, size in enumerate(sizes):
            mine = stage.rois[:, 0] == index
            refined[mine, 1:] = decode(stage.rois[mine, 1:], chosen[mine, None], self.stds[number], size)[:, 0]
        return refined

    def detect_boxes(
        self, stages: Sequence[Stage], sizes: Sequence[tuple[int, int]], scales: Tensor
    ) -> list[RawDetections]:
        """The boxes of the last stage with the mean logits of all."""
        last, results = stages[-1], []
        probabilities = torch.stack([stage.logits for stage in stages]).float().mean(0).softmax(-1)[:, :-1]
        for index, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
            mine: Any = slice(None) if len(sizes) == 1 else last.rois[:, 0] == index
            boxes = decode(last.rois[mine, 1:], last.deltas[mine], self.stds[-1], size) / scale
            results.append(select(boxes, probabilities[mine], self.config.detections))
        return results
