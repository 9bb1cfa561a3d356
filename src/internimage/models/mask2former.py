"""Mask2Former (Cheng et al., 2022, https://arxiv.org/abs/2112.01527) for semantic segmentation on InternImage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.backbones.config import InternImageConfig
from internimage.backbones.internimage import InternImage
from internimage.images.masks import UNKNOWN
from internimage.layers.attention import (
    Attention,
    DeformableEncoderLayer,
    FeedForward,
    centres,
    sine_position_embedding,
)
from internimage.layers.convolution import ConvNorm, group_norm
from internimage.layers.queries.hungarian import match_masks
from internimage.layers.queries.losses import mask_losses, mean_over_processes
from internimage.layers.queries.masks import pixel_map, pixel_map_layers
from internimage.layers.segmentation import resize
from internimage.models.model import Model, ReleasedOptimizer
from internimage.settings.views import Window

_LEVELS = 3  # maps of stride 32, 16, 8 that pixels and queries look at
_CLASS_WEIGHT, _PIXEL_WEIGHT, _DICE_WEIGHT = 2.0, 5.0, 5.0
_NOTHING_WEIGHT = 0.1


@dataclass(frozen=True)
class Mask2FormerConfig:
    """Architecture of a Mask2Former.

    Attributes:
        backbone: the backbone's architecture.
        num_classes: classes, "nothing" not counted.
        channels: width of everything after the backbone, a multiple of 32.
        queries: masks that are proposed.
        encoder_layers, encoder_width: of the pixels' transformer, width between its linear layers.
        encoder_softmax: whether the weights of its deformable attention sum to one.
        decoder_layers, decoder_width: of the queries' transformer.
        window: parts that a picture is looked at in; None for the whole.
    """

    backbone: InternImageConfig
    num_classes: int = 150
    channels: int = 256
    queries: int = 100
    encoder_layers: int = 6
    encoder_width: int = 1024
    encoder_softmax: bool = True
    decoder_layers: int = 9
    decoder_width: int = 2048
    window: Window | None = None

    @property
    def heads(self) -> int:
        """Heads of every attention: 32 channels each."""
        return self.channels // 32


class Masks(NamedTuple):
    """What the queries say after one layer: class logits (N, Q, K + 1) and mask logits (N, Q, H / 4, W / 4)."""

    logits: Tensor
    masks: Tensor


class PixelDecoder(nn.Module):
    """Deformable attention over three maps, and a fine map for the masks."""

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__()
        channels = config.channels
        finest, *coarser = config.backbone.stage_channels
        self.projections = nn.ModuleList(
            ConvNorm(width, channels, 1, norm=group_norm, bias=True, relu=False) for width in reversed(coarser)
        )
        self.level_embedding = nn.Embedding(_LEVELS, channels)
        self.layers = nn.ModuleList(
            DeformableEncoderLayer(
                channels, config.heads, _LEVELS, config.encoder_width, softmax=config.encoder_softmax
            )
            for _ in range(config.encoder_layers)
        )
        self.lateral, self.output, self.masks = pixel_map_layers(finest, channels, channels)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The map (N, C, H / 4, W / 4) that masks are read from, and the three of stride 32, 16, 8."""
        finest, *coarser = maps
        inner = [convolution(one) for convolution, one in zip(self.projections, reversed(coarser), strict=True)]
        shapes = [(one.shape[2], one.shape[3]) for one in inner]
        position = [
            sine_position_embedding(*shape, one.shape[1], one.device) + embedding[:, None, None]
            for shape, one, embedding in zip(shapes, inner, self.level_embedding.weight, strict=True)
        ]
        pixels = torch.cat([one.flatten(2).transpose(1, 2) for one in inner], dim=1)
        embedding = torch.cat([one.flatten(1).T for one in position]).to(pixels.dtype)
        reference = centres(shapes, pixels.device)[None, :, None].expand(1, -1, _LEVELS, 2)
        for layer in self.layers:
            pixels = layer(pixels, embedding, reference, shapes)
        parts = pixels.split([height * width for height, width in shapes], dim=1)
        memories = [part.transpose(1, 2).unflatten(2, shape) for part, shape in zip(parts, shapes, strict=True)]
        return pixel_map(self.lateral, self.output, self.masks, finest, memories[-1]), memories


class DecoderLayer(nn.Module):
    """Queries look at the pixels within their masks, at each other, and go through two linear layers."""

    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__()
        self.cross_attention = Attention(channels, heads)
        self.self_attention = Attention(channels, heads)
        self.feed_forward = FeedForward(channels, width)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(self, queries: Tensor, names: Tensor, keys: Tensor, values: Tensor, attention_mask: Tensor) -> Tensor:
        """Queries (N, Q, C), ``names`` (Q, C) added to them; keys and values (N, S, C).

        ``attention_mask`` (N, Q, S) bool is true where a query attends to a pixel.
        """
        queries = self.norm1(queries + self.cross_attention(queries + names, keys, values, attention_mask))
        named = queries + names
        queries = self.norm2(queries + self.self_attention(named, named, queries))
        result: Tensor = self.norm3(queries + self.feed_forward(queries))
        return result


class Mask2Former(Model):
    """Images (N, 3, H, W), RGB, normalised, to a map of scores for each class."""

    class_tensors = ("query_classifier.*",)
    background = 1
    released_optimizer = ReleasedOptimizer(
        by_layer=True, spared_by_name=True, at_stem_rate=r"query_|level_embedding|mask_embedding"
    )

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.backbone = InternImage(config.backbone)
        self.pixel_decoder = PixelDecoder(config)
        self.query_embedding = nn.Embedding(config.queries, channels)
        self.query_features = nn.Embedding(config.queries, channels)
        self.level_embedding = nn.Embedding(_LEVELS, channels)
        self.layers = nn.ModuleList(
            DecoderLayer(channels, config.heads, config.decoder_width) for _ in range(config.decoder_layers)
        )
        self.norm = nn.LayerNorm(channels)
        self.query_classifier = nn.Linear(channels, config.num_classes + 1)
        self.mask_embedding = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
        )

    def shardable(self) -> list[nn.Module]:
        """Blocks of the backbone, layers of the pixels' and the queries' transformer."""
        return [*super().shardable(), *self.pixel_decoder.layers, *self.layers]

    def reset_classifier(self, num_classes: int) -> None:
        layer = nn.Linear(self.config.channels, num_classes + 1)
        self.query_classifier = layer.to(next(self.backbone.parameters()))
        self.config = replace(self.config, num_classes=num_classes)

    def forward(self, images: Tensor, *, coarse: bool = False) -> Tensor:
        """Scores (N, K, H, W); see :meth:`UperNet.forward`.

        A score is the sum over queries of the probability of the class times that of the mask.
        """
        scores = class_scores(self.predict_masks(self.backbone(images))[-1])
        return scores if coarse else resize(scores, images.shape[2:])

    def predict_masks(self, maps: Sequence[Tensor]) -> list[Masks]:
        """Maps of the backbone to what the queries say, before the first layer and after each."""
        fine, memories = self.pixel_decoder(maps)
        keys, values = [], []
        for memory, embedding in zip(memories, self.level_embedding.weight, strict=True):
            position = sine_position_embedding(memory.shape[2], memory.shape[3], memory.shape[1], memory.device)
            value = memory + embedding[:, None, None]
            values.append(value.flatten(2).transpose(1, 2))
            keys.append((value + position.to(value.dtype)).flatten(2).transpose(1, 2))
        names = self.query_embedding.weight
        queries = self.query_features.weight[None].expand(len(fine), -1, -1)
        results = [self._read(queries, fine)]
        for number, layer in enumerate(self.layers):
            level = number % _LEVELS
            attention_mask = _within(results[-1].masks, memories[level].shape[2:])
            queries = layer(queries, names, keys[level], values[level], attention_mask)
            results.append(self._read(queries, fine))
        return results

    def _read(self, queries: Tensor, fine: Tensor) -> Masks:
        normed = self.norm(queries)
        masks = torch.einsum("nqc,nchw->nqhw", self.mask_embedding(normed), fine)
        return Masks(self.query_classifier(normed), masks)

    def losses(self, images: Tensor, truth: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """Class, pixel and dice loss of every layer, each matched anew to the classes present in ``truth``.

        Args:
            images: (N, 3, H, W).
            truth: (N, H, W) int64 class numbers, -1 where unknown.
        """
        return self.losses_on(self.predict_masks(self.backbone(images)), truth)

    def losses_on(self, layers: Sequence[Masks], truth: Tensor) -> dict[str, Tensor]:
        """:meth:`losses`, from what the queries say after each layer."""
        labels = [one.unique() for one in truth]
        labels = [one[one != UNKNOWN] for one in labels]
        masks = [one[None] == each[:, None, None] for one, each in zip(truth, labels, strict=True)]
        total = mean_over_processes(truth.new_tensor(sum(map(len, labels)), dtype=torch.float32)).clamp(min=1)
        weight = truth.new_ones(self.config.num_classes + 1, dtype=torch.float32)
        weight[-1] = _NOTHING_WEIGHT
        results = {}
        for number, (logits, found) in enumerate(layers):
            wanted = torch.full_like(logits[..., 0], self.config.num_classes, dtype=torch.int64)
            matched, true = [], []
            for index, (each, mask) in enumerate(zip(labels, masks, strict=True)):
                with torch.no_grad():
                    rows, columns = match_masks(logits[index], found[index], each, mask)
                wanted[index, rows] = each[columns]
                matched.append(found[index, rows])
                true.append(mask[columns])
            everything = torch.cat(true)
            numbers = torch.arange(len(everything), device=everything.device)
            pixels, dice = mask_losses(torch.cat(matched).float(), everything, numbers, total)
            entropy = F.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), weight=weight)
            results[f"class{number}"] = _CLASS_WEIGHT * entropy
            results[f"pixels{number}"] = _PIXEL_WEIGHT * pixels
            results[f"dice{number}"] = _DICE_WEIGHT * dice
        return results


def class_scores(found: Masks) -> Tensor:
    """Scores (N, K, H / 4, W / 4)."""
    return torch.einsum("nqk,nqhw->nkhw", found.logits.softmax(-1)[..., :-1], found.masks.sigmoid())


def _within(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Which pixels of a level (N, Q, S) a query may look at: those within its mask; all, if there is none."""
    inside = resize(masks.detach(), size).flatten(2) >= 0
    return inside | ~inside.any(-1, keepdim=True)
