"""Words through a text tower, as a Uni-Perceiver v2 reads them (Li et al., CVPR 2023, section 3.1).

A tower is an encoder of ``transformers``: a RoBERTa that starts anew on CLIP's pieces of words, or one that somebody
trained, with its own tokeniser.  Captions go through it with the table of who sees whom that the decoder has too, so
that no word tells of those behind it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.errors import ConfigError
from internimage.multimodal.sequences.embeddings import START_STD
from internimage.multimodal.sequences.sight import caption_table, sees
from internimage.multimodal.words.vocabulary import CLIP, Special, Vocabulary
from internimage.text.tower import TextTower, described_tokenizer

_BEGIN = ("Ġ", "▁")  # how byte-level BPE and SentencePiece mark the first piece of a word
_PADDING = 1  # rows in front of the table of a tower that starts anew: padding has no gradient


@dataclass(frozen=True)
class TowerConfig:
    """A text tower.

    Attributes:
        width, layers, heads, feed_forward: of a RoBERTa that starts anew; of no use for another one.
        longest: tokens of a text.
        trained: of one that somebody trained, ``transformers``' configuration and the tokeniser, as
            :meth:`internimage.text.tower.TextTower.description` gives them; None for one that starts anew.
    """

    width: int = 768
    layers: int = 12
    heads: int = 12
    feed_forward: int = 3072
    longest: int = 512
    trained: str | None = None

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "feed_forward", "longest"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} of the text tower is {getattr(self, name)}; expected 1 or more")
        if self.width % self.heads:
            raise ConfigError(f"width of the text tower is {self.width}; expected a multiple of its {self.heads} heads")


class TowerText(nn.Module):
    """Texts to tokens: tower, projection to the decoder's width, the type of text, LayerNorm.

    Args:
        config: of the tower.
        vocabulary: the words that the model knows; of a trained tower, of its own words.
        channels: width of the tokens.
        tower: a trained one; None for one of ``config``.
    """

    def __init__(
        self, config: TowerConfig, vocabulary: Vocabulary, channels: int, tower: TextTower | None = None
    ) -> None:
        super().__init__()
        self.config = config
        with torch.device("cpu"):  # buffers that are computed, not saved, would have no values on the meta device
            self.tower = tower or _tower(config, vocabulary)
        self.project = nn.Identity() if self.tower.width == channels else nn.Linear(self.tower.width, channels)
        self.token_type = nn.Parameter(torch.randn(channels) * START_STD)
        self.norm = nn.LayerNorm(channels)
        self._vocabulary = vocabulary

    def know(self, vocabulary: Vocabulary) -> None:
        """Have these words from now on; those of a tower that started anew that it did not know start anew."""
        if self.config.trained is None and len(vocabulary) + _PADDING != self.tower.model.config.vocab_size:
            _regrow(self.tower.model, self._vocabulary.ids, vocabulary.ids)
        self._vocabulary = vocabulary

    def texts(self, rows: Tensor, present: Tensor) -> Tensor:
        """Whole texts (R, L), see :meth:`internimage.multimodal.models.words.WordModel.text_tokens`."""
        return self._read(rows, present[:, None].expand(-1, rows.shape[1], -1))

    def captions(self, rows: Tensor, present: Tensor) -> Tensor:
        """See :meth:`internimage.multimodal.models.words.WordModel.caption_tokens`."""
        length = rows.shape[1]
        both = torch.cat([rows, torch.full_like(rows, self._vocabulary.spe)], dim=1)
        table = sees(torch.cat([present, present], dim=1), caption_table(0, length, rows.device))[:, 0]
        return self._read(both, table, torch.arange(length, device=rows.device).repeat(2))

    def following(self, written: Tensor) -> Tensor:
        """See :meth:`internimage.multimodal.models.words.WordModel.next_tokens`."""
        rows = F.pad(written, (0, 1), value=self._vocabulary.spe)
        square = torch.ones(rows.shape[1], rows.shape[1], dtype=torch.bool, device=rows.device)
        return self._read(rows, square.tril())[:, -2:]

    def _read(self, rows: Tensor, table: Tensor, positions: Tensor | None = None) -> Tensor:
        ids = rows + _PADDING if self.config.trained is None else self._numbers(rows)
        features = self.tower.features(ids, table, positions)
        tokens: Tensor = self.norm(self.project(features) + self.token_type)
        return tokens

    def _numbers(self, rows: Tensor) -> Tensor:
        """The tower's own numbers of words."""
        return torch.tensor(self._vocabulary.ids, device=rows.device)[rows]


class TowerTokenizer:
    """The tokeniser of a trained tower, with the interface of :class:`internimage.text.clip.ClipTokenizer`.

    Args:
        description: of the tower.
    """

    def __init__(self, description: str) -> None:
        self._tokenizer = described_tokenizer(json.loads(description))
        self._words = self._tokenizer.convert_ids_to_tokens(list(range(len(self._tokenizer))))
        self._marks_rest = any(word.startswith("##") for word in self._words)  # WordPiece
        end = self._tokenizer.sep_token_id
        end = self._tokenizer.eos_token_id if end is None else end
        mask = self._tokenizer.mask_token_id
        self.special = Special(len(self._tokenizer), end, end if mask is None else mask)

    def encode(self, text: str, longest: int | None = None) -> list[int]:
        """The ids of a text and the end token; of a longer text than ``longest`` the first ones and the end stay."""
        ids = self._tokenizer.encode(text, add_special_tokens=False, verbose=False)
        return [*(ids if longest is None else ids[: longest - 1]), self.special.end]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids up to the first end token."""
        end = self.special.end
        known = list(ids)[: list(ids).index(end)] if end in ids else list(ids)
        return str(self._tokenizer.decode(known, skip_special_tokens=True))

    def words(self, ids: Sequence[int]) -> list[list[int]]:
        """Places of the tokens of each word; see :meth:`internimage.text.clip.ClipTokenizer.words`."""
        words: list[list[int]] = []
        for place, number in enumerate(ids):
            piece = self._words[number]
            begins = not piece.startswith("##") if self._marks_rest else piece.startswith(_BEGIN)
            if begins or not words:
                words.append([])
            words[-1].append(place)
        return words


def special_tokens(config: TowerConfig) -> Special:
    """Those of the tower's tokeniser."""
    if config.trained is None:
        return CLIP
    return TowerTokenizer(config.trained).special


def _tower(config: TowerConfig, vocabulary: Vocabulary) -> TextTower:
    if config.trained is not None:
        return TextTower.described(config.trained)
    numbers = {"sep_token_id": vocabulary.end + _PADDING, "mask_token_id": vocabulary.spe + _PADDING}
    return TextTower.anew(
        len(vocabulary) + _PADDING,
        SimpleNamespace(**numbers, eos_token_id=None, pad_token_id=0),
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        feed_forward=config.feed_forward,
        longest=config.longest,
    )


def _regrow(model: Any, known: Sequence[int], wanted: Sequence[int]) -> None:
    """A table for ``wanted`` ids, in which those that were ``known`` go on."""
    before = model.get_input_embeddings().weight.detach()
    words = nn.Embedding(len(wanted) + _PADDING, before.shape[1], padding_idx=0).to(before)
    nn.init.normal_(words.weight, std=START_STD)
    rows = {one: row for row, one in enumerate(wanted)}
    with torch.no_grad():
        words.weight[0] = before[0]
        words.weight[[rows[one] + _PADDING for one in known]] = before[_PADDING:]
    model.set_input_embeddings(words)
    model.config.vocab_size = len(wanted) + _PADDING
