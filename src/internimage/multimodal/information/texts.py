"""Texts to features, beside a backbone that learns from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.multimodal.sequences.embeddings import TextEmbedding
from internimage.multimodal.sequences.encoder import Encoder
from internimage.multimodal.sequences.kinds import TEXT
from internimage.multimodal.sequences.sight import sees
from internimage.multimodal.words.vocabulary import Ids, Vocabulary


class TextEncoder(nn.Module):
    """A token in front that looks at all words, CLIP's ids as a Uni-Perceiver takes them.

    Args:
        vocabulary: the words that it knows.
        width: of its tokens and features.
        layers, heads, feed_forward: see :class:`Encoder`.
        longest: positions of a text.
    """

    def __init__(
        self, vocabulary: Vocabulary, width: int, layers: int, heads: int, feed_forward: int, longest: int
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.words = TextEmbedding(len(vocabulary), width, longest)
        self.norm = nn.LayerNorm(width)
        self.encoder = Encoder(layers, width, heads, feed_forward)
        self.last_norm = nn.LayerNorm(width)

    def take_words(self, ids: Iterable[int]) -> None:
        """Know these of CLIP's words too, from now on; they start anew."""
        wanted = Vocabulary([*self.vocabulary.ids, *ids])
        self.words.take_words(self.vocabulary.ids, wanted.ids)
        self.vocabulary = wanted

    def forward(self, texts: Sequence[Ids]) -> Tensor:
        """R texts, each with its end token, to features (R, width).

        Raises:
            DataError: see :meth:`Vocabulary.padded` and :meth:`TextEmbedding.counted`.
        """
        rows, present = self.vocabulary.padded(texts, self.norm.weight.device)
        words = self.norm(self.words(rows, self.words.counted(rows.shape[1])))
        front: Tensor = self.norm(self.words.words(torch.full_like(rows[:, :1], self.vocabulary.spe)))
        seen = sees(F.pad(present, (1, 0), value=True))
        outputs, _ = self.encoder(torch.cat([front, words], dim=1), TEXT, seen=seen)
        features: Tensor = self.last_norm(outputs[:, 0])
        return features
