"""Captions, one word a call, from what the encoder keeps of a picture and of the words so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from internimage.multimodal.sequences.encoder import Encoder, Memory
from internimage.multimodal.sequences.kinds import CAPTION_TEXT

Embed: TypeAlias = Callable[[Tensor, int], Tensor]
"""Rows (R, L) of the table of words, the first of them at a position, to (R, L, C)."""


class CaptionWriter:
    """:data:`internimage.multimodal.sequences.beams.Advance` of an encoder.

    A call encodes the last word and, behind it, the place of the next one.  Training sees the same: a word looks at
    the picture and the words up to it, a place at the picture, the words before it and itself.

    Args:
        encoder: of the model, plain or conditional.
        embed: of the model.
        score: outputs (R, C) to logits (R, V).
        pictures: the memory of N pictures.
        spe: the row that stands for a place.
    """

    def __init__(
        self, encoder: Encoder, embed: Embed, score: Callable[[Tensor], Tensor], pictures: Memory, spe: int
    ) -> None:
        self._encoder = encoder
        self._embed = embed
        self._score = score
        self._pictures = pictures
        self._spe = spe
        self._words: Memory = []
        self._count = 0

    def __call__(self, words: Tensor | None, rows: Tensor | None) -> Tensor:
        keys, _ = self._pictures[0]
        if words is None or rows is None:
            place = torch.full((len(keys), 1), self._spe, device=keys.device)
            outputs, _ = self._encoder(self._embed(place, 0), CAPTION_TEXT, memory=[self._pictures])
            return self._score(outputs[:, 0])
        if len(rows) != len(keys):  # several sentences for each picture from now on
            self._pictures = _taken(self._pictures, rows)
        pair = torch.stack([words, torch.full_like(words, self._spe)], dim=1)
        before = [self._pictures] + ([_taken(self._words, rows)] if self._words else [])
        seen = torch.ones(2, keys.shape[2] + self._count + 2, dtype=torch.bool, device=keys.device)
        outputs, own = self._encoder(
            self._embed(pair, self._count), CAPTION_TEXT, seen=seen.tril(seen.shape[1] - 2), memory=before
        )
        word = [(keys[:, :, :1], values[:, :, :1]) for keys, values in own]
        self._words = _joined(before[1], word) if self._words else word
        self._count += 1
        return self._score(outputs[:, 1])


def _taken(memory: Memory, rows: Tensor) -> Memory:
    return [(keys[rows], values[rows]) for keys, values in memory]


def _joined(first: Memory, second: Memory) -> Memory:
    return [
        (torch.cat([one[0], other[0]], dim=2), torch.cat([one[1], other[1]], dim=2))
        for one, other in zip(first, second, strict=True)
    ]
