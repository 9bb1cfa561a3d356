"""What networks that look from above for boxes have in common: the decoder, what it learns, what is reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from internimage.driving.bev.code import CODE
from internimage.driving.bev.decoder import BoxDecoder, classifier
from internimage.driving.bev.decoding import best_boxes
from internimage.driving.bev.inputs import BoxTargets, RawBoxes3D
from internimage.driving.bev.losses import CodeDistance, box_losses, match
from internimage.driving.models.bev import BEVModel
from internimage.errors import ConfigError


class BoxModel(BEVModel):
    """Backbone, pyramid and encoder with a decoder of boxes.

    Args:
        config: architecture, with all that :class:`internimage.driving.models.bevformer.BEVFormerConfig` says of its
            decoder.
        maps: see :class:`BEVModel`.
        proposals: see :class:`internimage.driving.bev.decoder.BoxDecoder`.
    """

    code_weights: Tensor

    class_tensors: ClassVar[tuple[str, ...]] = ("decoder.classifiers.#.6.*",)

    def __init__(self, config: Any, maps: int | None = None, proposals: int = 0) -> None:
        super().__init__(config, maps)
        code_weights = torch.ones(CODE)
        code_weights[-2:] = config.velocity_weight
        self.register_buffer("code_weights", code_weights)
        self.decoder = BoxDecoder(
            config.grid,
            config.channels,
            config.heads,
            config.decoder_layers,
            config.width,
            config.queries,
            config.num_classes,
            config.groups,
            config.dropout,
            proposals,
        )

    def shardable(self) -> list[nn.Module]:
        """Blocks of the backbone, layers of encoder and decoder."""
        return [*super().shardable(), *self.decoder.layers]

    def reset_classifier(self, num_classes: int) -> None:
        channels, count, like = self.config.channels, len(self.decoder.classifiers), self.decoder.query_embedding.weight
        self.decoder.classifiers = nn.ModuleList(classifier(channels, num_classes) for _ in range(count)).to(like)
        self.config = replace(self.config, num_classes=num_classes)

    def keeping(self, objects: int) -> Self:
        most = (self.config.queries + self.decoder.proposals) * self.config.num_classes
        if not 1 <= objects <= most:
            raise ConfigError(f"{objects} objects a frame; expected 1 to {most}, which this model looks at")
        return self._reporting(keep=objects)

    def found(self, logits: Tensor, codes: Tensor) -> list[RawBoxes3D]:
        """The boxes of each frame, best first, of the decoder's last: (1, N, Q, K) logits, (1, N, Q, 10) codes."""
        return [best_boxes(*one, self.config.detections) for one in zip(logits[0], codes[0], strict=True)]

    def learnt(
        self, logits: Tensor, codes: Tensor, targets: Sequence[BoxTargets], distance: CodeDistance | None = None
    ) -> dict[str, Tensor]:
        """Class and box of each decoder's layer, means over the groups, each of which is matched alone.

        Args:
            logits, codes: of all layers and groups, (L, N, Q, K) and (L, N, Q, 10), see
                :meth:`internimage.driving.bev.decoder.BoxDecoder.forward`.
            targets: of N frames.
            distance: of codes; None for BEVFormer's.
        """
        distance = distance or CodeDistance()
        weights = self.code_weights.clone()  # a file's own say nothing about what is to be learnt now
        weights[-2:] = self.config.velocity_weight
        groups = self.decoder.groups if self.training else 1
        totals: list[Tensor] = []
        for own_logits, own_codes in zip(*(self._by_group(one, groups) for one in (logits, codes)), strict=True):
            matched = match(own_logits, own_codes, targets, distance)
            each = torch.stack(box_losses(own_logits, own_codes, matched, targets, weights, distance=distance))
            totals.append(each.unflatten(1, (self.config.decoder_layers, -1)).sum(2))
        means = torch.stack(totals).sum(0) / groups
        results: dict[str, Tensor] = {}  # clones, because FSDP2 warns of views
        for kind, layers in zip(("class", "box"), means, strict=True):
            results |= {f"layer{number}_{kind}": loss.clone() for number, loss in enumerate(layers, 1)}
        return results

    def _by_group(self, outputs: Tensor, groups: int) -> list[Tensor]:
        """(L, N, queries, ...) to (L * groups, N, Q, ...), as each group is matched like a layer of its own.

        With proposals, first the first group, which has more queries than others.
        """
        queries = self.decoder.queries
        if not self.decoder.proposals:
            return [outputs.unflatten(2, (groups, queries)).movedim(2, 1).flatten(0, 1)]
        own = torch.cat([outputs[:, :, :queries], outputs[:, :, groups * queries :]], dim=2)
        others = outputs[:, :, queries : groups * queries]
        if groups == 1:
            return [own]
        return [own, others.unflatten(2, (groups - 1, queries)).movedim(2, 1).flatten(0, 1)]
