"""CLIP's tokeniser with the special tokens of Uni-Perceiver.  No torch.

Byte-level pair encoding of lower-case text (Radford et al., ICML 2021, section 2.4); the merges are those of the file
``bpe_simple_vocab_16e6.txt.gz``, which the package open_clip_torch brings.
"""

from __future__ import annotations

import gzip
import html
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from internimage.errors import ConfigError, DataError, MissingExtraError

START, END, MASK, GENERATE, SPE = 49406, 49407, 49408, 49409, 49410
SPECIAL = {"<|startoftext|>": START, "<|endoftext|>": END, "<|mask|>": MASK, "<|gen|>": GENERATE, "<|spe|>": SPE}
"""Special tokens and their ids; in a text all but the mask stand for themselves."""
SIZE = 49411
"""How many ids there are."""

_MERGES = 48_894
_LONGEST = 100_000  # characters: mending and splitting a text takes time in proportion
_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_WORD_END = "</w>"


class ClipTokenizer:
    """Text to ids and back.  It can be pickled.

    Raises:
        MissingExtraError: open_clip_torch, ftfy or tokenizers is not installed.
    """

    def __init__(self) -> None:
        try:
            import ftfy
            from tokenizers import Regex, Tokenizer, models, pre_tokenizers
        except ImportError as error:
            raise MissingExtraError(
                f"words need the package {error.name}: pip install 'internimage[multimodal]'"
            ) from error
        self._mend = ftfy.fix_text
        merges = _read_merges()
        alphabet = _bytes_as_letters()
        letters = list(alphabet.values())
        words = [*letters, *(letter + _WORD_END for letter in letters), *("".join(pair) for pair in merges), *SPECIAL]
        self._words = words
        self._bytes = {letter: byte for byte, letter in alphabet.items()}
        vocabulary = {word: number for number, word in enumerate(words)}
        tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix=_WORD_END))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[no-untyped-call]
            [
                pre_tokenizers.Split(Regex(_PATTERN), "removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.add_special_tokens([word for word, number in SPECIAL.items() if number != MASK])
        self._tokenizer: Any = tokenizer

    def pieces(self, text: str) -> list[int]:
        """The ids of a text alone, without an end token.

        The text is mended (ftfy), unescaped from HTML twice, its white space collapsed, in lower case.

        Raises:
            DataError: it is longer than 100,000 characters.
        """
        if len(text) > _LONGEST:
            raise DataError(f"a text has {len(text):,} characters; expected {_LONGEST:,} or fewer, cut it")
        plain = " ".join(html.unescape(html.unescape(self._mend(text))).split()).lower()
        ids: list[int] = self._tokenizer.encode(plain, add_special_tokens=False).ids
        return ids

    def encode(self, text: str, longest: int | None = None) -> list[int]:
        """The ids of a text and the end token.

        Args:
            text: see :meth:`pieces`.
            longest: greatest number of ids; of a longer text the first ones and the end token stay.

        Raises:
            ConfigError: ``longest`` is not 1 or more.
            DataError: see :meth:`pieces`.
        """
        if longest is not None and longest < 1:
            raise ConfigError(f"longest is {longest}; expected 1 or more, the end token is one")
        ids = self.pieces(text)
        return [*(ids if longest is None else ids[: longest - 1]), END]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids up to the first end token, a blank after each word; special tokens are left out.

        Raises:
            DataError: there is no such id.
        """
        unknown = [number for number in ids if not 0 <= number < SIZE]
        if unknown:
            raise DataError(f"there is no token {unknown[0]}; expected 0 to {SIZE - 1}")
        known = ids[: list(ids).index(END)] if END in ids else ids
        text = "".join(self._words[number] for number in known if number < START).replace(_WORD_END, " ")
        return bytes(self._bytes.get(letter, 32) for letter in text).decode("utf-8", errors="replace").strip()

    def words(self, ids: Sequence[int]) -> list[list[int]]:
        """Places of the pieces of each word of a text."""
        words: list[list[int]] = [[]]
        for place, one in enumerate(ids):
            words[-1].append(place)
            if self.ends_word(one):
                words.append([])
        return [word for word in words if word]

    def ends_word(self, number: int) -> bool:
        """Whether a token is the last of a word."""
        return number >= START or self._words[number].endswith(_WORD_END)


def _read_merges() -> list[tuple[str, str]]:
    """Pairs of pieces, the most frequent first."""
    found = find_spec("open_clip")  # importing it would load timm
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError("CLIP's words are in open_clip_torch: pip install 'internimage[multimodal]'")
    path = Path(found.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1 : _MERGES + 1]
    except (OSError, EOFError, ValueError) as error:
        raise MissingExtraError(f"{path} cannot be read ({error}); install open_clip_torch again") from error
    pairs = [line.split() for line in lines]
    if len(pairs) != _MERGES or any(len(pair) != 2 for pair in pairs):
        raise MissingExtraError(f"{path} does not hold {_MERGES:,} pairs; install open_clip_torch again")
    return [(first, second) for first, second in pairs]


def _bytes_as_letters() -> dict[int, str]:
    """Each byte as a letter that can be seen: itself if it is one in Latin-1, else one from 256 on."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}
