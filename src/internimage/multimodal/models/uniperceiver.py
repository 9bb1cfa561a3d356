"""Uni-Perceiver (Zhu et al., CVPR 2022, https://arxiv.org/abs/2112.01522), also with conditional experts.

Uni-Perceiver-MoE: Zhu et al., NeurIPS 2022, https://arxiv.org/abs/2206.04674.  Pictures are cut into patches, as
released, or are the last map of an InternImage; words are a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from internimage.errors import InputSizeError
from internimage.multimodal.models.config import UniPerceiverConfig
from internimage.multimodal.models.words import WordModel
from internimage.multimodal.sequences.embeddings import PictureEmbedding, TextEmbedding
from internimage.multimodal.sequences.encoder import Encoder
from internimage.multimodal.sequences.likelihood import Likelihood
from internimage.multimodal.sequences.patches import PatchConfig, Patches
from internimage.multimodal.words.vocabulary import Vocabulary


class UniPerceiver(WordModel):
    """See :class:`WordModel`; clips too.  Texts are ids of :class:`internimage.text.clip.ClipTokenizer`."""

    config: UniPerceiverConfig

    def __init__(self, config: UniPerceiverConfig) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary(config.vocabulary)
        kind = config.backbone
        patches = isinstance(kind, PatchConfig)
        level = max(0, len(kind.depths) - 1) if config.out_level is None else config.out_level
        self.backbone = self.build_backbone(config, (level,))
        self.text = TextEmbedding(len(self.vocabulary), config.width, config.longest)
        self.pictures = PictureEmbedding(
            None if patches else self.backbone.feature_channels[0],
            config.width,
            config.frames,
            config.span,
            kind.image // kind.patch if isinstance(kind, PatchConfig) else None,
        )
        self.norm = nn.LayerNorm(config.width)  # of words and of pictures
        self.encoder = Encoder(
            config.layers, config.width, config.heads, config.feed_forward, config.experts, config.layer_scale
        )
        self.likelihood = Likelihood(config.width, released=patches)

    @classmethod
    def build_backbone(cls, config: UniPerceiverConfig, out_indices: Sequence[int] = (0, 1, 2, 3)) -> Any:
        if isinstance(config.backbone, PatchConfig):
            return Patches(config.backbone, config.width)
        return super().build_backbone(config, out_indices)

    # What a model promises

    def take_words(self, ids: Iterable[int]) -> None:
        """Know these of CLIP's words too, from now on; they start anew.  A model of all words knows them already."""
        if self.config.vocabulary is None:
            return
        vocabulary = Vocabulary([*self.vocabulary.ids, *ids])
        self.text.take_words(self.vocabulary.ids, vocabulary.ids)
        self.vocabulary = vocabulary
        self.config = replace(self.config, vocabulary=vocabulary.ids)

    # What it makes of pictures and words

    def picture_tokens(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) or clips (N, T, C, H, W) to tokens (N, tokens, d), moment by moment and row by row."""
        if images.dim() not in (4, 5):
            raise InputSizeError(
                f"images are {tuple(images.shape)}; expected (N, C, H, W), or (N, T, C, H, W) of clips"
            )
        clips = images[:, None] if images.dim() == 4 else images
        count, moments = clips.shape[:2]
        maps = self.backbone(clips.flatten(0, 1))[-1].unflatten(0, (count, moments))
        latest = self.config.frames - moments
        start = None
        if self.training and self.config.random_time and latest > 0:
            start = torch.randint(0, latest + 1, (count,), device=images.device)
        tokens: Tensor = self.norm(self.pictures(maps, start))
        return tokens

    def front(self, count: int) -> Tensor:
        """SPE, without position and type."""
        front: Tensor = self.norm(self.text.words.weight[self.vocabulary.spe])
        return front.expand(count, 1, -1)

    def text_tokens(self, rows: Tensor, present: Tensor) -> Tensor:
        return self._words(rows)

    def caption_tokens(self, rows: Tensor, present: Tensor) -> Tensor:
        return torch.cat([self._words(rows), self._words(torch.full_like(rows, self.vocabulary.spe))], dim=1)

    def next_tokens(self, written: Tensor) -> Tensor:
        count, length = written.shape
        place = self._words(written.new_full((count, 1), self.vocabulary.spe), length)
        return torch.cat([self._words(written[:, -1:], length - 1), place], dim=1) if length else place

    def _words(self, rows: Tensor, start: int = 0) -> Tensor:
        """Rows (N, L) of the table of words to (N, L, d), the first of them at position ``start``."""
        words: Tensor = self.norm(self.text(rows, self.text.counted(start + rows.shape[1])[start:]))
        return words
