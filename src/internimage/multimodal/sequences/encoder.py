"""The encoder: pre-norm layers whose branches are scaled, with plain or conditional linear layers.

Zhu et al., "Uni-Perceiver", CVPR 2022, section 3.2, and "Uni-Perceiver-MoE", NeurIPS 2022; LayerScale: Touvron et al.,
ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from internimage.backbones.parts import DropPath, initialise_linear
from internimage.errors import ConfigError
from internimage.multimodal.sequences.experts import linear_layer
from internimage.multimodal.sequences.kinds import Kind

Memory: TypeAlias = list[tuple[Tensor, Tensor]]
"""Of each layer the keys and values (N, heads, tokens, C / heads) of tokens that later ones look at."""


@dataclass(frozen=True)
class Prefix:
    """Pictures, encoded once, for all that is written about them.

    Attributes:
        outputs: (N, 1 + tokens, C) of the last layer, that of SPE first.
        memory: what later tokens need to look at these.
    """

    outputs: Tensor
    memory: Memory

    def take(self, rows: Tensor) -> Prefix:
        """Those of some pictures, rows (R,) int64, each as often as it is named."""
        return Prefix(self.outputs[rows], [(keys[rows], values[rows]) for keys, values in self.memory])


class EncoderLayer(nn.Module):
    """Attention, then two linear layers around a GELU.

    Args:
        channels: C.
        heads: divide the channels.
        width: of the feed-forward part.
        experts: of each linear layer; 0 for plain ones.
        scale: initial scale of both branches; None for no scale.
        attention: whether the linear layers of the attention have experts too.
    """

    def __init__(
        self, channels: int, heads: int, width: int, experts: int, scale: float | None, *, attention: bool = True
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(channels)
        mixed = experts if attention else 0
        self.qkv = linear_layer(channels, 3 * channels, mixed, channels)
        self.output = linear_layer(channels, channels, mixed, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.linear1 = linear_layer(channels, width, experts, channels)
        self.linear2 = linear_layer(width, channels, experts, channels)
        self.scale1 = self.scale2 = None
        if scale is not None:
            self.scale1 = nn.Parameter(torch.full((channels,), scale))
            self.scale2 = nn.Parameter(torch.full((channels,), scale))
        self.drop_path = DropPath()

    def forward(
        self, x: Tensor, seen: Tensor | None, memory: Sequence[tuple[Tensor, Tensor]], kind: Kind, cut: int
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Tokens (N, L, C) to the same, and their keys and values.

        Args:
            x: the tokens.
            seen: (N, 1, L or 1, M + L) bool, what they see of the memory and of themselves; None for all.
            memory: keys and values of the M tokens that are before them, piece by piece.
            kind, cut: see :meth:`Encoder.forward`.
        """
        decision = self.qkv.decide(kind, cut)  # the output layer has a gate of its own, which nobody asks
        parts = self.qkv(self.norm1(x), decision).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, *own = parts.unbind()
        key, value = own
        if memory:
            key, value = (torch.cat(pieces, dim=2) for pieces in zip(*memory, (key, value), strict=True))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen).transpose(1, 2).flatten(2)
        x = x + self._scaled(self.output(mixed, decision), self.scale1)
        decision = self.linear1.decide(kind, cut)  # that of linear2 is in files and of no use, likewise
        hidden = F.gelu(self.linear1(self.norm2(x), decision))
        return x + self._scaled(self.linear2(hidden, decision), self.scale2), (own[0], own[1])

    def _scaled(self, branch: Tensor, scale: Tensor | None) -> Tensor:
        kept: Tensor = self.drop_path(branch if scale is None else branch * scale)
        return kept

    def merged(self, kind: Kind) -> EncoderLayer:
        """A layer with the same tensors, whose conditional parts are the plain ones of this kind."""
        twin = copy(self)
        twin._modules = dict(self._modules)
        attention, forward = self.qkv.decide(kind, 0), self.linear1.decide(kind, 0)
        twin.qkv, twin.output = self.qkv.merged(attention), self.output.merged(attention)
        twin.linear1, twin.linear2 = self.linear1.merged(forward), self.linear2.merged(forward)
        return twin


class Encoder(nn.Module):
    """Layers, conditional where there are experts.

    Args:
        layers: how many.
        channels, heads, width, experts, scale: see :class:`EncoderLayer`.
        feed_forward_alone: experts are in the feed-forward parts of all layers, as in Uni-Perceiver v2; otherwise in
            all linear layers of every second layer from the first on, as in Uni-Perceiver-MoE.
    """

    def __init__(
        self,
        layers: int,
        channels: int,
        heads: int,
        width: int,
        experts: int = 0,
        scale: float | None = None,
        *,
        feed_forward_alone: bool = False,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        self.layers = nn.ModuleList(
            EncoderLayer(
                channels,
                heads,
                width,
                experts if feed_forward_alone or not number % 2 else 0,
                scale,
                attention=not feed_forward_alone,
            )
            for number in range(layers)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                initialise_linear(module, None)

    def forward(
        self,
        x: Tensor,
        kind: Kind,
        *,
        cut: int = 0,
        seen: Tensor | None = None,
        memory: Sequence[Memory] = (),
    ) -> tuple[Tensor, Memory]:
        """Tokens (N, L, C) to the same, and what later ones need to look at them.

        Args:
            x: the tokens.
            kind: of the sequence.
            cut: the first token of its text, where the kind tells it from what is before.
            seen: see :meth:`EncoderLayer.forward`.
            memory: of tokens before these, piece by piece.
        """
        own: Memory = []
        for number, layer in enumerate(self.layers):
            given = (x, seen, [piece[number] for piece in memory], kind, cut)
            if self.gradient_checkpointing and self.training:
                x, kept = checkpoint(layer, *given, use_reentrant=False)
            else:
                x, kept = layer(*given)
            own.append(kept)
        return x, own

    def set_drop_path_rate(self, rate: float) -> None:
        """Stochastic depth for training, alike in all layers.

        Raises:
            ConfigError: not 0 <= rate < 1.
        """
        if not 0.0 <= rate < 1.0:
            raise ConfigError(f"drop path rate is {rate}; expected 0 <= rate < 1")
        for layer in self._layers():
            layer.drop_path.rate = rate

    @torch.no_grad()
    def merged(self, kind: Kind) -> Encoder:
        """A plain encoder that does the same with sequences of a kind, for inference; it shares what it can.

        Args:
            kind: one without ``text_bits``.
        """
        twin = copy(self)
        twin._modules = dict(self._modules)
        twin.layers = nn.ModuleList(layer.merged(kind) for layer in self._layers())
        return twin

    def _layers(self) -> list[EncoderLayer]:
        """The layers under their own type."""
        return [layer for layer in self.layers if isinstance(layer, EncoderLayer)]
