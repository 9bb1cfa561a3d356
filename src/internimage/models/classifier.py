"""Image classifier: an InternImage backbone and a head.

Three heads exist in the released models: a convolution with global average pooling (T to XL), attention
pooling over the last two maps (H, G), and the latter with a second, metadata branch (H for iNaturalist 2018).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.backbones.config import Activation, InternImageConfig
from internimage.backbones.internimage import InternImage
from internimage.backbones.parts import ACTIVATIONS, initialise_linear, layer_norm
from internimage.errors import ConfigError, InputSizeError
from internimage.models.model import Model

_POOL_CHANNELS = 1024
_POOL_HEADS = 16
_POOL_OUT_CHANNELS = 768
_TEMPORAL_FEATURES = 4
_SPATIAL_FEATURES = 3


@dataclass(frozen=True)
class ClassifierConfig:
    """Architecture of an image classifier.

    Attributes:
        backbone: the backbone's architecture.
        num_classes: outputs; 0 for none, the model then returns pooled features.
        head: "conv" (1x1 convolution, BatchNorm, average pooling) or "attention_pool".
        head_expansion: width of the convolutional head over the backbone's last width.
        metadata_channels: width of the branch for time and place of the photo; None for no such branch.
    """

    backbone: InternImageConfig
    num_classes: int = 1000
    head: Literal["conv", "attention_pool"] = "conv"
    head_expansion: float = 1.5
    metadata_channels: int | None = None

    def __post_init__(self) -> None:
        if self.num_classes < 0:
            raise ConfigError(f"num_classes is {self.num_classes}; expected 0 or more")
        if self.metadata_channels is not None and self.metadata_channels < 1:
            raise ConfigError(f"metadata_channels is {self.metadata_channels}; expected at least 1, or None")
        if self.head not in ("conv", "attention_pool"):
            raise ConfigError(f"unknown head {self.head!r}; expected conv or attention_pool")


@dataclass(frozen=True)
class ClassifierFeatures:
    """What a classifier computes on the way: ``maps`` (N, C_i, H_i, W_i), ``pooled`` (N, F), ``logits`` (N, K)."""

    maps: list[Tensor]
    pooled: Tensor
    logits: Tensor


class ConvHead(nn.Module):
    """1x1 convolution, BatchNorm, activation, global average pooling."""

    def __init__(self, channels: int, expansion: float, activation: Activation) -> None:
        super().__init__()
        self.in_features, self.out_features = channels, int(channels * expansion)
        self.conv = nn.Conv2d(channels, self.out_features, 1, bias=False)
        self.norm = nn.BatchNorm2d(self.out_features)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, maps: list[Tensor]) -> Tensor:
        return self.pooled(self.fused(maps))

    def fused(self, maps: list[Tensor]) -> Tensor:
        """The map that is pooled."""
        return maps[-1]

    def pooled(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x))).mean((2, 3))


class CrossAttention(nn.Module):
    """Multi-head attention with separate bias vectors: (N, Q, 1024) over (N, L, 1024) to (N, Q, 768)."""

    def __init__(self) -> None:
        super().__init__()
        width = _POOL_CHANNELS
        self.query_bias = nn.Parameter(torch.zeros(width))
        self.key_bias = nn.Parameter(torch.zeros(width))
        self.value_bias = nn.Parameter(torch.zeros(width))
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.proj = nn.Linear(width, _POOL_OUT_CHANNELS)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        projected = (
            F.linear(query, self.query.weight, self.query_bias),
            F.linear(key, self.key.weight, self.key_bias),
            F.linear(value, self.value.weight, self.value_bias),
        )
        heads = (t.unflatten(-1, (_POOL_HEADS, -1)).transpose(1, 2) for t in projected)
        return self.proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


class AttentionPool(nn.Module):
    """Attention of the mean token to all tokens (N, L, 1024); returns (N, 768)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_query = layer_norm(_POOL_CHANNELS)
        self.norm_key = layer_norm(_POOL_CHANNELS)
        self.norm_value = layer_norm(_POOL_CHANNELS)
        self.attention = CrossAttention()

    def forward(self, tokens: Tensor) -> Tensor:
        query = self.norm_query(tokens.mean(1, keepdim=True))
        return self.attention(query, self.norm_key(tokens), self.norm_value(tokens)).squeeze(1)


class AttentionPoolHead(nn.Module):
    """Sum of the last map, upsampled by pixel shuffle, and the map before it, then attention pooling.

    Both maps must fit: ceil(H / 16) and ceil(W / 16) even.  Multiples of 32 always do.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_features, self.out_features = _POOL_CHANNELS, _POOL_OUT_CHANNELS
        self.coarse = nn.Conv2d(channels, 4 * _POOL_CHANNELS, 1)
        self.fine = nn.Conv2d(channels // 2, _POOL_CHANNELS, 1)
        self.pool = AttentionPool()
        self.norm = layer_norm(_POOL_OUT_CHANNELS)

    def forward(self, maps: list[Tensor]) -> Tensor:
        return self.pooled(self.fused(maps))

    def fused(self, maps: list[Tensor]) -> Tensor:
        """The map (N, 1024, H / 16, W / 16) that is pooled."""
        fine, coarse = maps[-2], maps[-1]
        if fine.shape[2] != 2 * coarse.shape[2] or fine.shape[3] != 2 * coarse.shape[3]:
            raise InputSizeError(
                f"the attention-pool head got maps of {fine.shape[2]}x{fine.shape[3]} (stride 16) and "
                f"{coarse.shape[2]}x{coarse.shape[3]} (stride 32), the first must be exactly twice the second; use "
                "image sides that are multiples of 32"
            )
        return F.pixel_shuffle(self.coarse(coarse), 2) + self.fine(fine)

    def pooled(self, x: Tensor) -> Tensor:
        return self.norm(self.pool(x.flatten(2).transpose(1, 2)))


class MetadataEncoder(nn.Module):
    """Embeds a few numbers about a photo: linear, ReLU, LayerNorm, then a residual block of the same parts."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, width)
        self.norm = nn.LayerNorm(width)
        self.residual_norm1 = nn.LayerNorm(width)
        self.residual_norm2 = nn.LayerNorm(width)
        self.residual_fc1 = nn.Linear(width, width)
        self.residual_fc2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.embed(x).relu())
        y = self.residual_norm1(self.residual_fc1(x).relu())
        return x + self.residual_norm2(self.residual_fc2(y).relu())


class MetadataHead(nn.Module):
    """Class scores from time (N, 4) and place (N, 3) of the photo, to be added to those of the image.

    As in MetaFormer (Diao et al., 2022, https://arxiv.org/abs/2203.02751): unknown values are zero.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.temporal = MetadataEncoder(_TEMPORAL_FEATURES, width)
        self.spatial = MetadataEncoder(_SPATIAL_FEATURES, width)
        self.norm = layer_norm(2 * width)
        self.fc = nn.Linear(2 * width, num_classes)

    def forward(self, temporal: Tensor, spatial: Tensor) -> Tensor:
        return self.fc(self.norm(torch.cat((self.temporal(temporal), self.spatial(spatial)), -1)))


class ImageClassifier(Model):
    """Backbone and head: images (N, 3, H, W), RGB and normalised, to logits (N, num_classes).

    Raises:
        InputSizeError: not (N, 3, H, W), or a size that the attention-pool head cannot take.
    """

    class_tensors = ("classifier.*", "metadata_head.fc.*")
    classifier_parts = ("metadata_head.*",)
    vector_names = ("pooled", "logits")
    backbone: InternImage

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self._frozen_features = False
        self.backbone = InternImage(config.backbone, range(len(config.backbone.depths)))
        # registered before the head: the order of the released checkpoints, hence of their optimiser states
        self.metadata_head = (
            MetadataHead(config.metadata_channels, config.num_classes)
            if config.metadata_channels and config.num_classes
            else None
        )
        channels = config.backbone.stage_channels[-1]
        self.head: ConvHead | AttentionPoolHead
        if config.head == "conv":
            self.head = ConvHead(channels, config.head_expansion, config.backbone.activation)
        else:
            self.head = AttentionPoolHead(channels)
        self.classifier: nn.Linear | nn.Identity
        self.reset_classifier(config.num_classes)

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 without a classifier."""
        return self.classifier.out_features if isinstance(self.classifier, nn.Linear) else 0

    def forward(self, images: Tensor, temporal: Tensor | None = None, spatial: Tensor | None = None) -> Tensor:
        """Logits (N, num_classes), or pooled features (N, F) without a classifier.

        ``temporal`` (N, 4) and ``spatial`` (N, 3) are read by models with a metadata head alone; None is unknown.
        """
        return self.forward_intermediates(images, temporal, spatial).logits

    def losses(  # type: ignore[override]
        self,
        images: Tensor,
        targets: Tensor,
        temporal: Tensor | None = None,
        spatial: Tensor | None = None,
        *,
        label_smoothing: float = 0.0,
    ) -> dict[str, Tensor]:
        """Cross-entropy with class numbers (N,) or shares of classes (N, num_classes)."""
        logits = self(images, temporal, spatial).float()
        return {"cross_entropy": F.cross_entropy(logits, targets, label_smoothing=label_smoothing)}

    def forward_intermediates(
        self, images: Tensor, temporal: Tensor | None = None, spatial: Tensor | None = None
    ) -> ClassifierFeatures:
        """Logits together with the backbone's maps and the pooled features that they come from."""
        if self._frozen_features:
            with torch.no_grad():
                maps = self.backbone(images)
                pooled = self.head(maps)
        else:
            maps = self.backbone(images)
            pooled = self.head(maps)
        return ClassifierFeatures(maps, pooled, self.scores(pooled, temporal, spatial))

    def scores(self, pooled: Tensor, temporal: Tensor | None = None, spatial: Tensor | None = None) -> Tensor:
        """Logits of pooled features (N, F), with what a metadata head makes of time and place."""
        logits: Tensor = self.classifier(pooled)
        if self.metadata_head is not None:
            if temporal is None:
                temporal = pooled.new_zeros(pooled.shape[0], _TEMPORAL_FEATURES)
            if spatial is None:
                spatial = pooled.new_zeros(pooled.shape[0], _SPATIAL_FEATURES)
            logits = logits + self.metadata_head(temporal, spatial)
        return logits

    def vectors(self, images: Tensor) -> dict[str, Tensor]:
        """Vectors "pooled" (N, F), the features that the classifier sees, and "logits" (N, num_classes)."""
        out = self.forward_intermediates(images)
        return {"pooled": out.pooled, "logits": out.logits}

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a freshly initialised one; 0 removes it, and a metadata head with it."""
        old, std = next(self.head.parameters()), self.config.backbone.linear_std
        if num_classes:
            self.classifier = nn.Linear(self.head.out_features, num_classes).to(old)
            initialise_linear(self.classifier, std)
            if self.metadata_head is not None:
                self.metadata_head.fc = nn.Linear(self.metadata_head.fc.in_features, num_classes).to(old)
                initialise_linear(self.metadata_head.fc, std)
        else:
            self.classifier = nn.Identity()
            self.metadata_head = None
        self.config = dataclasses.replace(self.config, num_classes=num_classes)

    def keep_classes(self, rows: Sequence[int]) -> None:
        """Reduce the classifier to the given ``rows``, in their order: a 21,841-way head to ImageNet-1K's."""
        if self.metadata_head is not None or not isinstance(self.classifier, nn.Linear):
            raise ConfigError("only a plain linear classifier can be reduced to some of its classes")
        index = torch.as_tensor(rows, device=self.classifier.weight.device)
        weight, bias = self.classifier.weight.detach()[index], self.classifier.bias.detach()[index]
        self.classifier.weight, self.classifier.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.classifier.out_features = len(rows)
        self.config = dataclasses.replace(self.config, num_classes=len(rows))

    def freeze(self, stages: int) -> None:
        """Fix the stem and the first ``stages`` stages, 0 for none; see :meth:`InternImage.freeze`."""
        self._frozen_features = False
        self.head.requires_grad_(True)
        self.backbone.freeze(stages)

    def freeze_features(self) -> None:
        """Fix all but the classifier (and the metadata branch): training it is a linear probe of the features.

        What is fixed stays in evaluation mode whatever ``train()`` says; ``freeze(0)`` frees it.
        """
        self._frozen_features = True
        self.backbone.requires_grad_(False)
        self.head.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> ImageClassifier:
        super().train(mode)
        if self._frozen_features:
            self.backbone.eval()
            self.head.eval()
        return self
