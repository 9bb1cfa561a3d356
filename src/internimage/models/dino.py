"""DINO (Zhang et al., 2023, https://arxiv.org/abs/2203.03605) on InternImage, plain or composite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from internimage.backbones.composite import Backbone, CompositeBackbone, CompositeConfig, build_backbone
from internimage.backbones.config import InternImageConfig
from internimage.errors import ConfigError
from internimage.layers.attention import DeformableDecoderLayer, DeformableEncoderLayer, padded_sine_position_embedding
from internimage.layers.boxes import clip, cxcywh_to_xyxy, xyxy_to_cxcywh
from internimage.layers.convolution import ConvNorm, group_norm
from internimage.layers.finite import check_finite
from internimage.layers.queries.denoising import NoisyObjects, noisy_objects
from internimage.layers.queries.hungarian import match_images
from internimage.layers.queries.losses import mean_over_processes, set_box_losses
from internimage.layers.queries.refinement import (
    box_embedding,
    box_regressor,
    focal_classifier,
    inverse_sigmoid,
    mlp,
    reference_points,
    refine_boxes,
)
from internimage.layers.queries.two_stage import best_pixels, may_propose, pixel_boxes, take, valid_pixels
from internimage.models.model import Model, ReleasedOptimizer
from internimage.structures.detection import DetectionConfig, DetectionTarget, RawDetections

_LEVELS = 4
_POSITION_BASE = 20.0
_FIRST_SIZE = 0.05  # of the boxes that the finest level's pixels propose, as a share of the image
_ASSISTANT_WEIGHT = 0.5  # of the losses on all but the last branch of a composite backbone


@dataclass(frozen=True)
class DINOConfig:
    """Architecture of a DINO.

    Attributes:
        backbone: the backbone's architecture.
        num_classes: classes of objects.
        composite: several such backbones put together; None for one.
        channels: width of everything after the backbone, a multiple of 32.
        queries: boxes that are proposed.
        encoder_layers, decoder_layers: of the pixels' and the queries' transformer.
        width, parts: of the two linear layers in each of them, see :func:`feed_forward`.
        denoising: true objects with noise that are shown to the decoder in training, about, for each image; all of them
            at least once, none for 0.
        detections: which boxes are reported; ``nms_threshold`` acts in test-time augmentation alone.
    """

    backbone: InternImageConfig
    num_classes: int = 80
    composite: CompositeConfig | None = None
    channels: int = 256
    queries: int = 900
    encoder_layers: int = 6
    decoder_layers: int = 6
    width: int = 2048
    parts: int = 1
    denoising: int = 100
    detections: DetectionConfig = field(default_factory=lambda: DetectionConfig(0.0, 0.7, 300))

    def __post_init__(self) -> None:
        for name in ("num_classes", "queries", "encoder_layers", "decoder_layers", "width", "parts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if self.detections.suppression != "nms":
            raise ConfigError("a DINO has no NMS that could be soft; leave suppression out of its detections")
        if self.denoising < 0:
            raise ConfigError(f"denoising is {self.denoising}; expected 0 or more")
        if self.channels < 32 or self.channels % 32:
            raise ConfigError(f"channels is {self.channels}; expected a multiple of 32")
        if self.width % self.parts:
            raise ConfigError(f"width {self.width} does not divide into {self.parts} parts")

    @property
    def heads(self) -> int:
        """Heads of every attention: 32 channels each."""
        return self.channels // 32


class ChannelMapper(nn.Module):
    """Maps (N, C_i, H_i, W_i), fine to coarse, to as many of equal width, and one more of half the coarsest's size."""

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(ConvNorm(width, channels, 1, norm=group_norm, relu=False) for width in in_channels)
        self.coarser = ConvNorm(in_channels[-1], channels, 3, norm=group_norm, stride=2, relu=False)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        same = [project(one) for project, one in zip(self.lateral, maps, strict=True)]
        return [*same, self.coarser(maps[-1])]


class Pixels(NamedTuple):
    """Pixels of all levels, one level after the other.

    Attributes:
        values: (N, S, C).
        boxes: (N, S, 4) cxcywh around each, of a size that doubles from level to level; float32, relative to the image
            without its padding.
        padding: (N, S) bool, true outside the images.
        shares: (N, L, 2) how much of each level's width and height the images fill.
        shapes: (height, width) of each level.
    """

    values: Tensor
    boxes: Tensor
    padding: Tensor
    shares: Tensor
    shapes: list[tuple[int, int]]


class Boxes(NamedTuple):
    """Predictions of the encoder or a decoder layer: class logits (N, Q, K) and boxes (N, Q, 4), float32.

    Boxes are cxcywh, relative to the image without its padding.
    """

    logits: Tensor
    boxes: Tensor


class Encoder(nn.Module):
    """Deformable attention over four maps."""

    def __init__(self, config: DINOConfig) -> None:
        super().__init__()
        self.level_embedding = nn.Parameter(torch.randn(_LEVELS, config.channels))
        self.layers = nn.ModuleList(
            DeformableEncoderLayer(config.channels, config.heads, _LEVELS, config.width, config.parts)
            for _ in range(config.encoder_layers)
        )

    def forward(self, maps: Sequence[Tensor], filled: Sequence[tuple[Tensor, Tensor]]) -> Pixels:
        """Maps (N, C, H_i, W_i), and which rows (N, H_i) and columns (N, W_i) of them the images fill."""
        positions, boxes = [], []
        for level, (one, (rows, columns)) in enumerate(zip(maps, filled, strict=True)):
            embedding = padded_sine_position_embedding(rows, columns, one.shape[1], _POSITION_BASE)
            positions.append((embedding + self.level_embedding[level, :, None, None]).flatten(2))
            boxes.append(pixel_boxes(rows, columns, _FIRST_SIZE * 2**level))
        values = torch.cat([one.flatten(2) for one in maps], dim=2).transpose(1, 2)
        position = torch.cat(positions, dim=2).transpose(1, 2).to(values.dtype)
        padding = torch.cat([~(rows[:, :, None] & columns[:, None]).flatten(1) for rows, columns in filled], dim=1)
        shares = [torch.stack([columns.float().mean(1), rows.float().mean(1)], dim=1) for rows, columns in filled]
        shapes = [(one.shape[2], one.shape[3]) for one in maps]
        pixels = Pixels(values, torch.cat(boxes, dim=1), padding, torch.stack(shares, dim=1), shapes)
        reference = pixels.boxes[:, :, None, :2] * pixels.shares[:, None]
        for layer in self.layers:
            values = layer(values, position, reference, shapes, padding)
        return pixels._replace(values=values)


class DINO(Model):
    """Images (N, 3, H, W), RGB, normalised and padded at the right and bottom, to objects.

    Linear layers start as PyTorch's do, with less spread than the published ones, which learned more slowly when they
    were tried (docs/detection.md).
    """

    class_tensors = ("classifiers.#.*", "label_embedding.*")
    released_optimizer = ReleasedOptimizer(by_layer=True, spared_by_name=True, at_stem_rate=r"encoder\.level_embedding")
    has_masks = False

    @classmethod
    def build_backbone(cls, config: DINOConfig, out_indices: Sequence[int] = (0, 1, 2, 3)) -> Backbone:
        return build_backbone(config.backbone, config.composite, out_indices)

    @classmethod
    def shares_weights(cls, config: DINOConfig, other: DINOConfig) -> bool:
        return super().shares_weights(config, other) and config.composite == other.composite

    def __init__(self, config: DINOConfig) -> None:
        super().__init__()
        self.config = config
        channels, steps = config.channels, config.decoder_layers
        self.backbone = self.build_backbone(config, (1, 2, 3))
        self.neck = ChannelMapper(self.backbone.feature_channels, channels)
        self.encoder = Encoder(config)
        self.layers = nn.ModuleList(
            DeformableDecoderLayer(channels, config.heads, _LEVELS, config.width, config.parts) for _ in range(steps)
        )
        self.box_position = mlp(2 * channels, channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.proposal = nn.Linear(channels, channels)
        self.proposal_norm = nn.LayerNorm(channels)
        self.query_embedding = nn.Embedding(config.queries, channels)
        self.classifiers = nn.ModuleList(focal_classifier(channels, config.num_classes) for _ in range(steps + 1))
        self.regressors = nn.ModuleList(box_regressor(channels) for _ in range(steps + 1))
        self.label_embedding = nn.Embedding(config.num_classes, channels)

    def shardable(self) -> list[nn.Module]:
        """Blocks of the backbone, layers of encoder and decoder."""
        return [*super().shardable(), *self.encoder.layers, *self.layers]

    def reset_classifier(self, num_classes: int) -> None:
        channels, count, like = self.config.channels, len(self.classifiers), self.query_embedding.weight
        self.classifiers = nn.ModuleList(focal_classifier(channels, num_classes) for _ in range(count)).to(like)
        self.label_embedding = nn.Embedding(num_classes, channels).to(like)
        self.config = replace(self.config, num_classes=num_classes)

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]], scales: Tensor) -> list[RawDetections]:
        """The objects of each image; see :meth:`MaskRCNN.forward`."""
        pixels = self.encode(self.backbone(images), sizes, images.shape[2:])
        last = self.decode(pixels, self.propose(pixels).boxes)
        parts = zip(last.logits, last.boxes, sizes, scales, strict=True)
        return [self.postprocess(logits, boxes, size, scale) for logits, boxes, size, scale in parts]

    def encode(self, maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]], extent: Sequence[int]) -> Pixels:
        """The backbone's maps through neck and encoder; ``sizes`` are those of the images in a batch of ``extent``."""
        maps = self.neck(maps)
        result: Pixels = self.encoder(maps, valid_pixels(sizes, extent, maps))
        return result

    def propose(self, pixels: Pixels, chosen: Tensor | None = None) -> Boxes:
        """Proposals of the pixels with the highest scores, best first, or of the pixels ``chosen`` (N, Q).

        Pixels in the padding or near an edge of the image count as zeros, and their boxes are infinitely large, as in
        the released detectors.
        """
        inside = may_propose(pixels.boxes, pixels.padding)
        start = torch.where(inside[..., None], (pixels.boxes / (1 - pixels.boxes)).log(), torch.inf)
        features = self.proposal_norm(self.proposal(pixels.values.masked_fill(~inside[..., None], 0.0)))
        logits = self.classifiers[-1](features)
        if chosen is None:
            chosen = best_pixels(logits, self.config.queries)
        logits, features, start = (take(chosen, one) for one in (logits, features, start))
        return Boxes(logits, (self.regressors[-1](features).float() + start).sigmoid())

    def decode(self, pixels: Pixels, boxes: Tensor) -> Boxes:
        """Predictions of the last layer, from proposed boxes (N, Q, 4)."""
        queries = self._queries(boxes)
        *earlier, last = range(len(self.layers))
        for number in earlier:
            queries = self._layer(number, queries, boxes, pixels)
            boxes = self._refined(number, queries, boxes)
        queries = self.norm(self._layer(last, queries, boxes, pixels))
        return Boxes(self.classifiers[last](queries), self._refined(last, queries, boxes))

    def decode_all(self, pixels: Pixels, boxes: Tensor, noise: NoisyObjects | None) -> Boxes:
        """Predictions of all layers, noisy objects first: logits (L, N, D + Q, K) and boxes (L, N, D + Q, 4).

        Gradients of a layer's boxes also reach the layer before it ("look forward twice", section 3.5).
        """
        queries, attention_mask = self._queries(boxes), None
        if noise is not None:
            known = self.label_embedding(noise.labels.clamp(min=0)) * (noise.labels >= 0)[..., None]
            queries = torch.cat([known.to(queries.dtype), queries], dim=1)
            boxes = torch.cat([inverse_sigmoid(noise.boxes).sigmoid(), boxes], dim=1)
            attention_mask = noise.attention_mask[None]
        all_logits, all_boxes = [], []
        before = boxes
        for number in range(len(self.layers)):
            queries = self._layer(number, queries, boxes, pixels, attention_mask)
            normed = self.norm(queries)
            all_logits.append(self.classifiers[number](normed))
            all_boxes.append(self._refined(number, normed, before))
            before = self._refined(number, queries, boxes)
            boxes = before.detach()
        return Boxes(torch.stack(all_logits), torch.stack(all_boxes))

    def _queries(self, boxes: Tensor) -> Tensor:
        return self.query_embedding.weight[: boxes.shape[1]].expand(len(boxes), -1, -1)

    def _layer(
        self, number: int, queries: Tensor, boxes: Tensor, pixels: Pixels, attention_mask: Tensor | None = None
    ) -> Tensor:
        """One layer of the decoder."""
        points = reference_points(boxes, pixels.shares)
        position = self.box_position(box_embedding(points[:, :, 0], self.config.channels).to(queries.dtype))
        values, padding, shapes = pixels.values, pixels.padding, pixels.shapes
        result: Tensor = self.layers[number](queries, position, points, values, shapes, padding, attention_mask)
        return result

    def _refined(self, number: int, queries: Tensor, boxes: Tensor) -> Tensor:
        return refine_boxes(boxes, self.regressors[number](queries))

    def postprocess(self, logits: Tensor, boxes: Tensor, size: tuple[int, int], scale: Tensor) -> RawDetections:
        """The best pairs of a query and a class of one image."""
        check_finite(logits)
        config, classes = self.config.detections, logits.shape[1]
        scores, index = logits.float().sigmoid().flatten().topk(min(config.keep, logits.numel()))
        if config.score_threshold > 0:
            index, scores = index[scores > config.score_threshold], scores[scores > config.score_threshold]
        height, width = size
        found = cxcywh_to_xyxy(boxes[index // classes]) * torch.tensor(
            [width, height, width, height], dtype=boxes.dtype, device=boxes.device
        )
        return RawDetections(clip(found, size) / scale, scores, index % classes, None)

    def losses(  # type: ignore[override]
        self, images: Tensor, sizes: Sequence[tuple[int, int]], targets: Sequence[DetectionTarget]
    ) -> dict[str, Tensor]:
        """Class, box and overlap of the proposals, of each layer, and of the noisy objects in each layer.

        The branches of a composite backbone have losses of their own, which count half for all but the last one.
        """
        if not isinstance(self.backbone, CompositeBackbone):
            return self.losses_on(self.backbone(images), sizes, images.shape[2:], targets)
        *assistants, last = self.backbone.forward_branches(images)
        results = self.losses_on(last, sizes, images.shape[2:], targets)
        for number, maps in enumerate(assistants):
            for name, loss in self.losses_on(maps, sizes, images.shape[2:], targets).items():
                results[f"branch{number}_{name}"] = _ASSISTANT_WEIGHT * loss
        return results

    def losses_on(
        self,
        maps: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        extent: Sequence[int],
        targets: Sequence[DetectionTarget],
    ) -> dict[str, Tensor]:
        """:meth:`losses`, from the maps of a backbone; ``sizes`` are those of the images in a batch of ``extent``."""
        pixels = self.encode(maps, sizes, extent)
        proposals = self.propose(pixels)
        count, classes = proposals.boxes.shape[1], self.config.num_classes
        extents = proposals.boxes.new_tensor([(width, height, width, height) for height, width in sizes])
        labels = [truth.labels for truth in targets]
        true = [xyxy_to_cxcywh(truth.boxes / one) for truth, one in zip(targets, extents, strict=True)]
        noise = noisy_objects(labels, true, classes, count, self.config.denoising)
        layers = self.decode_all(pixels, proposals.boxes.detach(), noise)
        noisy = layers.boxes.shape[2] - count
        found = Boxes(*(torch.cat([a[None], b[:, :, noisy:]]) for a, b in zip(proposals, layers, strict=True)))
        matched = match_images(*found, labels, true, extents)
        all_labels, all_boxes = torch.cat(labels), torch.cat(true)
        losses = set_box_losses(*found, matched, all_labels, all_boxes, extents)
        names = ["proposal", *(f"layer{number}" for number in range(1, len(self.layers) + 1))]
        if noise is None:  # the same losses on every process, and a gradient for every parameter
            zeros = (self.label_embedding.weight.sum() * 0.0).expand(len(self.layers))
            losses_of_noise: tuple[Tensor, ...] = (zeros, zeros, zeros)
            mean_over_processes(extents.new_zeros(()))
        else:
            denoised = Boxes(layers.logits[:, :, :noisy], layers.boxes[:, :, :noisy])
            wanted = noise.objects.expand(len(self.layers), -1, -1)
            losses_of_noise = set_box_losses(*denoised, wanted, all_labels, all_boxes, extents)
        results: dict[str, Tensor] = {}  # clones, because FSDP2 warns of views
        for kind, own, of_noise in zip(("class", "box", "overlap"), losses, losses_of_noise, strict=True):
            results |= {f"{name}_{kind}": loss.clone() for name, loss in zip(names, own, strict=True)}
            results |= {f"noise_{name}_{kind}": loss.clone() for name, loss in zip(names[1:], of_noise, strict=True)}
        return results
