"""ROUGE-L: the longest sequence of words that a caption shares with its references (Lin, ACL 2004 workshop)."""

from __future__ import annotations

from collections.abc import Sequence

_BETA = 1.2


def rouge_l(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Of one picture, 0 to 1: the best precision and the best recall of any references, as COCO's tool has it.

    A caption without words scores 0.
    """
    if not candidate:
        return 0.0
    shared = [longest_common(candidate, one) for one in references]
    precision = max(shared) / len(candidate)
    recall = max(count / max(1, len(one)) for count, one in zip(shared, references, strict=True))
    if not precision:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Words of the longest sequence, with gaps, that both have (a bit a word: Hyyrö, 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(one)) - 1
    missed = full
    for word in other:
        fits = missed & places.get(word, 0)
        missed = ((missed + fits) | (missed - fits)) & full
    return len(one) - missed.bit_count()
