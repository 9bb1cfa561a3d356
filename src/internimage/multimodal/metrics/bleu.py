"""BLEU: how many runs of words a caption shares with its references (Papineni et al., ACL 2002), as COCO counts it."""

from __future__ import annotations

import numpy as np

from internimage.multimodal.metrics.ngrams import LONGEST, Corpus, Floats, Integers, Runs, looked_up

_TINY = 1e-15  # of the published tool, in numerators and denominators; they show where nothing is shared
_SMALL = 1e-9


def bleu(corpus: Corpus) -> tuple[Floats, Floats]:
    """BLEU-1 to BLEU-4 of a whole set, (4,), and of each picture alone, (4, N).

    A run counts as often as the reference has it that has it most.  Lengths are compared with the reference of the
    closest length, the shorter of two.
    """
    places = np.arange(len(corpus))
    guesses = np.stack([np.maximum(0, corpus.lengths - n) for n in range(LONGEST)])
    correct = np.stack([_shared(corpus, corpus.candidates[n], corpus.references[n], places) for n in range(LONGEST)])
    closest = _closest(corpus)
    whole = _score(correct.sum(1, keepdims=True), guesses.sum(1, keepdims=True), corpus.lengths.sum(), closest.sum())
    return whole[:, 0], _score(correct, guesses, corpus.lengths, closest)


def _shared(corpus: Corpus, candidates: Runs, references: Runs, places: Integers) -> Integers:
    """Runs of each candidate that a reference has, (N,)."""
    keys = references.keys(corpus.picture_of)
    order = np.argsort(keys, kind="stable")
    known, first = np.unique(keys[order], return_index=True)
    most = np.maximum.reduceat(references.count[order], first) if len(first) else first
    clipped = np.minimum(candidates.count, looked_up(known, most, candidates.keys(places)))
    return np.bincount(candidates.sentence, clipped, len(corpus)).astype(np.int64)


def _closest(corpus: Corpus) -> Integers:
    """The length of the reference that is closest to each candidate's, (N,)."""
    apart = np.abs(corpus.reference_lengths - corpus.lengths[corpus.picture_of])
    order = np.lexsort((corpus.reference_lengths, apart, corpus.picture_of))
    _, first = np.unique(corpus.picture_of[order], return_index=True)
    return corpus.reference_lengths[order][first]


def _score(correct: Integers, guesses: Integers, lengths: Integers, closest: Integers) -> Floats:
    precisions = np.cumprod((correct + _TINY) / (guesses + _SMALL), axis=0)
    means = precisions ** (1 / np.arange(1, LONGEST + 1))[:, None]
    ratio = (lengths + _TINY) / (closest + _SMALL)
    scores: Floats = means * np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1)), 1)
    return scores
