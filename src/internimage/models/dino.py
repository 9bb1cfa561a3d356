"""DINO (Zhang et al., 2023, https://arxiv.org/abs/2203.03605) on InternImage, plain or composite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from internimage.backbones.composite import Backbone, CompositeBackbone, CompositeConfig, build_backbone
from internimage.backbones.config import InternImageConfig
from internimage.errors import ConfigError
from internimage.layers.attention import DeformableDecoderLayer
from internimage.layers.boxes import clip, cxcywh_to_xyxy, xyxy_to_cxcywh
from internimage.layers.finite import check_finite
from internimage.layers.queries.denoising import NoisyObjects, noisy_objects
from internimage.layers.queries.hungarian import match_images
from internimage.layers.queries.losses import mean_over_processes, set_box_losses
from internimage.layers.queries.pixels import LEVELS, ChannelMapper, Encoder, Pixels
from internimage.layers.queries.refinement import (
    box_embedding,
    box_regressor,
    focal_classifier,
    inverse_sigmoid,
    mlp,
    reference_points,
    refine_boxes,
)
from internimage.layers.queries.two_stage import best_pixels, may_propose, take, valid_pixels
from internimage.models.model import Model, ReleasedOptimizer
from internimage.structures.detection import DetectionConfig, DetectionTarget, RawDetections

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


class Found(NamedTuple):
    """Predictions of the encoder or a decoder layer, or of several layers together.

    Attributes:
        logits: (N, Q, K) of classes.
        boxes: (N, Q, 4) cxcywh, float32, relative to the image without its padding.
        queries: (N, Q, C) what they were read from: the queries after a layer, normed; the proposing pixels' features.
    """

    logits: Tensor
    boxes: Tensor
    queries: Tensor


class Truth(NamedTuple):
    """The objects of a batch, as sets of boxes learn them.

    Attributes:
        labels, boxes: of each image (G,) and (G, 4), cxcywh as shares of the image.
        extents: (N, 4) width, height, width, height of each image in pixels.
    """

    labels: list[Tensor]
    boxes: list[Tensor]
    extents: Tensor

    @classmethod
    def of(cls, targets: Sequence[DetectionTarget], sizes: Sequence[tuple[int, int]], like: Tensor) -> Truth:
        """From targets in pixels of images of these ``sizes``; ``like`` is on their device."""
        extents = like.new_tensor([(width, height, width, height) for height, width in sizes])
        boxes = [xyxy_to_cxcywh(truth.boxes / one) for truth, one in zip(targets, extents, strict=True)]
        return cls([truth.labels for truth in targets], boxes, extents)


class DINO(Model):
    """Images (N, 3, H, W), RGB, normalised and padded at the right and bottom, to objects.

    Linear layers start as PyTorch's do, with less spread than the published ones, which learned more slowly when they
    were tried (docs/detection.md).
    """

    class_tensors = ("classifiers.#.*", "label_embedding.*")
    released_optimizer = ReleasedOptimizer(by_layer=True, spared_by_name=True, at_stem_rate=r"encoder\.level_embedding")
    levels: ClassVar[tuple[int, ...]] = (1, 2, 3)  # of the backbone's maps, those that are looked at
    learns_content: ClassVar[bool] = True  # of the queries; their boxes are always the pixels'

    @property
    def has_masks(self) -> bool:
        """Whether it predicts masks beside boxes."""
        return False

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
        self.backbone = self.build_backbone(config, self.levels)
        self.neck = ChannelMapper(self.backbone.feature_channels[-3:], channels)
        self.encoder = self._build_encoder()
        self.layers = nn.ModuleList(
            DeformableDecoderLayer(channels, config.heads, LEVELS, config.width, config.parts) for _ in range(steps)
        )
        self.box_position = mlp(2 * channels, channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.proposal = nn.Linear(channels, channels)
        self.proposal_norm = nn.LayerNorm(channels)
        if self.learns_content:
            self.query_embedding = nn.Embedding(config.queries, channels)
        self.classifiers = nn.ModuleList(focal_classifier(channels, config.num_classes) for _ in range(steps + 1))
        self.regressors = nn.ModuleList(box_regressor(channels) for _ in range(steps + 1))
        self.label_embedding = nn.Embedding(config.num_classes, channels)

    def _build_encoder(self) -> Encoder:
        config = self.config
        return Encoder(config.channels, config.heads, config.encoder_layers, config.width, config.parts)

    def shardable(self) -> list[nn.Module]:
        """Blocks of the backbone, layers of encoder and decoder."""
        return [*super().shardable(), *self.encoder.layers, *self.layers]

    def reset_classifier(self, num_classes: int) -> None:
        channels, count, like = self.config.channels, len(self.classifiers), self.norm.weight
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
        maps = self.neck(maps[-3:])
        result: Pixels = self.encoder(maps, valid_pixels(sizes, extent, maps))
        return result

    def propose(self, pixels: Pixels, chosen: Tensor | None = None) -> Found:
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
        return Found(logits, (self.regressors[-1](features).float() + start).sigmoid(), features)

    def decode(self, pixels: Pixels, boxes: Tensor, content: Tensor | None = None) -> Found:
        """Predictions of the last layer, from proposed boxes (N, Q, 4).

        ``content`` (N, Q, C) is what the queries are at first; the learnt ones if there is none.
        """
        queries = self._queries(boxes) if content is None else content
        *earlier, last = range(len(self.layers))
        for number in earlier:
            queries = self._layer(number, queries, boxes, pixels)
            boxes = self._refined(number, queries, boxes).detach()
        queries = self.norm(self._layer(last, queries, boxes, pixels))
        return Found(self.classifiers[last](queries), self._refined(last, queries, boxes), queries)

    def decode_all(
        self, pixels: Pixels, boxes: Tensor, noise: NoisyObjects | None, content: Tensor | None = None
    ) -> Found:
        """Predictions of all layers as :meth:`decode` has them of one, noisy objects first: (L, N, D + Q, ...).

        Gradients of a layer's boxes also reach the layer before it ("look forward twice", section 3.5).
        """
        queries, attention_mask = self._queries(boxes) if content is None else content, None
        if noise is not None:
            known = self.label_embedding(noise.labels.clamp(min=0)) * (noise.labels >= 0)[..., None]
            queries = torch.cat([known.to(queries.dtype), queries], dim=1)
            boxes = torch.cat([inverse_sigmoid(noise.boxes).sigmoid(), boxes], dim=1)
            attention_mask = noise.attention_mask[None]
        all_logits, all_boxes, all_queries = [], [], []
        before = boxes
        for number in range(len(self.layers)):
            queries = self._layer(number, queries, boxes, pixels, attention_mask)
            normed = self.norm(queries)
            all_queries.append(normed)
            all_logits.append(self.classifiers[number](normed))
            all_boxes.append(self._refined(number, normed, before))
            before = self._refined(number, queries, boxes)
            boxes = before.detach()
        return Found(torch.stack(all_logits), torch.stack(all_boxes), torch.stack(all_queries))

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
        return self._best(logits, boxes, size, scale)[0]

    def _best(
        self, logits: Tensor, boxes: Tensor, size: tuple[int, int], scale: Tensor
    ) -> tuple[RawDetections, Tensor]:
        """What is reported, and of which query each is."""
        check_finite(logits)
        config, classes = self.config.detections, logits.shape[1]
        scores, index = logits.float().sigmoid().flatten().topk(min(config.keep, logits.numel()))
        if config.score_threshold > 0:
            index, scores = index[scores > config.score_threshold], scores[scores > config.score_threshold]
        height, width = size
        found = cxcywh_to_xyxy(boxes[index // classes]) * torch.tensor(
            [width, height, width, height], dtype=boxes.dtype, device=boxes.device
        )
        return RawDetections(clip(found, size) / scale, scores, index % classes, None), index // classes

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
        truth = Truth.of(targets, sizes, proposals.boxes)
        noise = self._noise(truth, proposals.boxes.shape[1])
        layers = self.decode_all(pixels, proposals.boxes.detach(), noise)
        found, denoised = self._joined(proposals, layers)
        matched = match_images(found.logits, found.boxes, truth.labels, truth.boxes, truth.extents)
        return self._set_losses(found, denoised, matched, noise, truth)

    def _noise(self, truth: Truth, queries: int) -> NoisyObjects | None:
        return noisy_objects(truth.labels, truth.boxes, self.config.num_classes, queries, self.config.denoising)

    def _joined(self, proposals: Found, layers: Found) -> tuple[Found, Found]:
        """Proposals and own queries of all layers (1 + L, N, Q, ...), and the noisy objects (L, N, D, ...)."""
        noisy = layers.boxes.shape[2] - proposals.boxes.shape[1]
        pairs = list(zip(proposals, layers, strict=True))
        return Found(*(torch.cat([a[None], b[:, :, noisy:]]) for a, b in pairs)), Found(
            *(b[:, :, :noisy] for _, b in pairs)
        )

    def _set_losses(
        self, found: Found, denoised: Found, matched: Tensor, noise: NoisyObjects | None, truth: Truth
    ) -> dict[str, Tensor]:
        """Losses of classes and boxes, by names; ``matched`` (1 + L, N, Q) says which object a query learns."""
        all_labels, all_boxes = torch.cat(truth.labels), torch.cat(truth.boxes)
        losses = set_box_losses(found.logits, found.boxes, matched, all_labels, all_boxes, truth.extents)
        if noise is None:  # the same losses on every process, and a gradient for every parameter
            zeros = (self.label_embedding.weight.sum() * 0.0).expand(len(self.layers))
            of_noise: tuple[Tensor, ...] = (zeros, zeros, zeros)
            mean_over_processes(truth.extents.new_zeros(()))
        else:
            wanted = noise.objects.expand(len(self.layers), -1, -1)
            of_noise = set_box_losses(denoised.logits, denoised.boxes, wanted, all_labels, all_boxes, truth.extents)
        return named(("class", "box", "overlap"), losses, of_noise)


def named(kinds: Sequence[str], losses: Sequence[Tensor], of_noise: Sequence[Tensor]) -> dict[str, Tensor]:
    """Losses by names: of each kind those of proposals and layers (1 + L,), and of noisy objects in layers (L,)."""
    results: dict[str, Tensor] = {}  # clones, because FSDP2 warns of views
    for kind, own, noisy in zip(kinds, losses, of_noise, strict=True):
        places = ["proposal", *(f"layer{number}" for number in range(1, len(own)))]
        results |= {f"{place}_{kind}": loss.clone() for place, loss in zip(places, own, strict=True)}
        results |= {f"noise_{place}_{kind}": loss.clone() for place, loss in zip(places[1:], noisy, strict=True)}
    return results
