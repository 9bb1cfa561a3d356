"""Captions, one word a call, from what the encoder keeps of a picture and of the words so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from internimage.multimodal.sequences.encoder import Encoder, Memory
from internimage.multimodal.sequences.kinds import CAPTION_TEXT

Embed: TypeAlias = Callable[[Tensor], Tensor]
"""Rows (R, T) of the table of words to tokens (R, 2, C): the last word, and the place of the next one; of no words the
place alone."""


class CaptionWriter:
    """:data:`internimage.multimodal.words.beams.Advance` of an encoder.

    A call encodes the last word and, behind it, the place of the next one.  Training sees the same: a word looks at
    the picture and the words up to it, a place at the picture, the words before it and itself.

    Args:
        encoder: of the model, plain or conditional.
        embed: see :data:`Embed`.
        score: outputs (R, C) to logits (R, V).
        pictures: the memory of N pictures.
    """

    def __init__(self, encoder: Encoder, embed: Embed, score: Callable[[Tensor], Tensor], pictures: Memory) -> None:
        self._encoder = encoder
        self._embed = embed
        self._score = score
        self._pictures = pictures
        self._words: Memory = []
        keys, _ = pictures[0]
        self._written = torch.zeros(len(keys), 0, dtype=torch.int64, device=keys.device)

    def __call__(self, words: Tensor | None, rows: Tensor | None) -> Tensor:
        keys, _ = self._pictures[0]
        if words is None or rows is None:
            outputs, _ = self._encoder(self._embed(self._written), CAPTION_TEXT, memory=[self._pictures])
            return self._score(outputs[:, 0])
        if len(rows) != len(keys):  # several sentences for each picture from now on
            self._pictures = _taken(self._pictures, rows)
        self._written = torch.cat([self._written[rows], words[:, None]], dim=1)
        before = [self._pictures] + ([_taken(self._words, rows)] if self._words else [])
        seen = torch.ones(2, keys.shape[2] + self._written.shape[1] + 1, dtype=torch.bool, device=keys.device)
        outputs, own = self._encoder(
            self._embed(self._written), CAPTION_TEXT, seen=seen.tril(seen.shape[1] - 2), memory=before
        )
        word = [(keys[:, :, :1], values[:, :, :1]) for keys, values in own]
        self._words = _joined(before[1], word) if self._words else word
        return self._score(outputs[:, 1])


def _taken(memory: Memory, rows: Tensor) -> Memory:
    return [(keys[rows], values[rows]) for keys, values in memory]


def _joined(first: Memory, second: Memory) -> Memory:
    return [
        (torch.cat([one[0], other[0]], dim=2), torch.cat([one[1], other[1]], dim=2))
        for one, other in zip(first, second, strict=True)
    ]
