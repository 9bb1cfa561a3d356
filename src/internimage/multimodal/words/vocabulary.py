"""Which words a model knows, of CLIP's or of a text tower's, and texts as rows of its table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from internimage.errors import ConfigError, DataError, MissingExtraError
from internimage.text.clip import END, SIZE, SPE, START, ClipTokenizer
from internimage.writing import counted

Ids: TypeAlias = Sequence[int]
"""A text as :meth:`internimage.text.clip.ClipTokenizer.encode` gives it; it ends with the end token."""


@dataclass(frozen=True)
class Special:
    """How a tokeniser counts its tokens.

    Attributes:
        size: how many ids there are.
        end: the id that ends a text.
        spe: the id that stands for a word that is to be found.
    """

    size: int = SIZE
    end: int = END
    spe: int = SPE


CLIP = Special()

_NAMED = 5


class Vocabulary:
    """The words of a model.

    Attributes:
        ids: the tokeniser's, row by row of the table of words.
        special: of the tokeniser.
        end, spe: rows of the end token and of the one in front of a sequence, which every model knows.
    """

    def __init__(self, ids: Sequence[int] | None = None, special: Special = CLIP) -> None:
        """Those of all words if None.

        Raises:
            ConfigError: the tokeniser has no such id.
        """
        wrong = [one for one in ids or () if not 0 <= one < special.size]
        if wrong:
            whose = "CLIP's words" if special == CLIP else "the text tower's words"
            raise ConfigError(f"vocabulary has {wrong[0]}; expected ids of {whose}, 0 to {special.size - 1}")
        self.special = special
        end, spe = special.end, special.spe
        self.ids = tuple(range(special.size)) if ids is None else tuple(sorted({*ids, end, spe}))
        self._rows = None if ids is None else {one: row for row, one in enumerate(self.ids)}
        self.end, self.spe = (end, spe) if self._rows is None else (self._rows[end], self._rows[spe])

    def with_more(self, ids: Iterable[int]) -> Vocabulary:
        """These words too; one of all words knows them already."""
        return self if self._rows is None else Vocabulary([*self.ids, *ids], self.special)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, texts: Sequence[Ids]) -> list[list[int]]:
        """Rows of the words of each text.

        Raises:
            DataError: a text has no token, or a word that is not known.
        """
        if not all(len(text) for text in texts):
            raise DataError("a text is empty; expected ids that end with the end token")
        known = self._rows
        every = {one for text in texts for one in text}
        unknown = {one for one in every if not (0 <= one < self.special.size if known is None else one in known)}
        if unknown:
            named = _named(texts, unknown) if self.special == CLIP else f"{counted(len(unknown), 'word')}"
            raise DataError(
                f"this model does not know {named}; it knows {len(self.ids):,} pieces of words, "
                "expected others, or a model of more words"
            )
        return [list(text) if known is None else [known[one] for one in text] for text in texts]

    def padded(self, texts: Sequence[Ids], device: torch.device) -> tuple[Tensor, Tensor]:
        """Texts as a table: rows (N, L) int64, the end token's behind shorter ones, and which are present, (N, L) bool.

        Raises:
            DataError: see :meth:`rows`; or there is no text.
        """
        if not texts:
            raise DataError("there are no texts; expected one or more")
        rows = self.rows(texts)
        longest = max(map(len, rows))
        table = torch.tensor([[*one, *[self.end] * (longest - len(one))] for one in rows])
        present = torch.arange(longest) < torch.tensor([len(one) for one in rows])[:, None]
        return table.to(device), present.to(device)


def _named(texts: Sequence[Ids], unknown: Set[int]) -> str:
    """Words with pieces that are not known, in quotes as far as they can be told."""
    try:
        tokenizer = ClipTokenizer()
    except MissingExtraError:
        names = [f"token {one}" for one in sorted(unknown)]
    else:
        words = (word for text in texts for word in _words(text, tokenizer) if not unknown.isdisjoint(word))
        names = list(dict.fromkeys(_spelled(word, tokenizer) for word in words))
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _words(text: Ids, tokenizer: ClipTokenizer) -> Iterator[list[int]]:
    """The pieces of each word of a text."""
    word: list[int] = []
    for one in text:
        word.append(one)
        if not 0 <= one < START or tokenizer.ends_word(one):
            yield word
            word = []
    if word:
        yield word


def _spelled(word: Ids, tokenizer: ClipTokenizer) -> str:
    return repr(tokenizer.decode(word)) if 0 <= word[-1] < START else f"token {word[-1]}"
