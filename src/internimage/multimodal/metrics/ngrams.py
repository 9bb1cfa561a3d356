"""Runs of one to four words in many sentences at once, as numbers: what BLEU and CIDEr count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

LONGEST = 4
Integers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


@dataclass(frozen=True)
class Runs:
    """How often sentences have each run of one length; a row for each pair that occurs, in order of both.

    Attributes:
        sentence: numbers of the sentences, (R,).
        run: numbers of the runs, (R,).
        count: how often, (R,).
        runs: how many different ones there are.
    """

    sentence: Integers
    run: Integers
    count: Integers
    runs: int

    def keys(self, place: Integers) -> Integers:
        """One number for each pair of ``place[sentence]`` and run."""
        return place[self.sentence] * self.runs + self.run


@dataclass(frozen=True)
class Corpus:
    """Candidates and references as words.

    Attributes:
        candidates: runs of 1 to 4 words of each picture's caption.
        references: of all references, with the same numbers.
        picture_of: the picture of each reference, (S,), in order.
        lengths: words of each candidate, (N,).
        reference_lengths: words of each reference, (S,).
    """

    candidates: tuple[Runs, ...]
    references: tuple[Runs, ...]
    picture_of: Integers
    lengths: Integers
    reference_lengths: Integers

    def __len__(self) -> int:
        return len(self.lengths)


def corpus_of(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> Corpus:
    """The words of each picture's caption, and of each of its references, of which it has one or more."""
    sentences = [*candidates, *chain.from_iterable(references)]
    lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
    number: dict[str, int] = {}
    words = np.fromiter(
        (number.setdefault(word, len(number)) for word in chain.from_iterable(sentences)), np.int64, int(lengths.sum())
    )
    counted = _count(words, lengths, len(number))
    split = len(candidates)
    of_candidates = tuple(_some(runs, 0, split) for runs in counted)
    of_references = tuple(_some(runs, split, len(sentences)) for runs in counted)
    picture_of = np.repeat(np.arange(split), [len(one) for one in references])
    return Corpus(of_candidates, of_references, picture_of, lengths[:split], lengths[split:])


def _count(words: Integers, lengths: Integers, known: int) -> list[Runs]:
    """Runs of 1 to 4 words; one of n words is one of n - 1 words and a word."""
    sentence = np.repeat(np.arange(len(lengths)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))  # words from here to the sentence's end
    run, runs, found = words, known, []
    for length in range(1, LONGEST + 1):
        begins = np.flatnonzero(left >= length)
        if length > 1:
            keys = run[begins] * known + words[begins + length - 1]
            values, numbers = np.unique(keys, return_inverse=True)
            run = np.zeros_like(words)
            run[begins], runs = numbers, len(values)
        pairs, counts = np.unique(sentence[begins] * max(1, runs) + run[begins], return_counts=True)
        found.append(Runs(pairs // max(1, runs), pairs % max(1, runs), counts, runs))
    return found


def _some(runs: Runs, first: int, end: int) -> Runs:
    """Those of the sentences from ``first`` on, renumbered."""
    low, high = np.searchsorted(runs.sentence, (first, end))
    return Runs(runs.sentence[low:high] - first, runs.run[low:high], runs.count[low:high], runs.runs)


def looked_up(keys: Integers, values: Any, wanted: Integers) -> Any:
    """The value of each wanted key in sorted ``keys``; 0 for those that are not there."""
    if not len(keys):
        return np.zeros(len(wanted), np.asarray(values).dtype)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
