"""CIDEr-D: how a caption agrees with its references in runs of words that are rare (Vedantam et al., CVPR 2015)."""

from __future__ import annotations

import numpy as np

from internimage.multimodal.metrics.ngrams import LONGEST, Corpus, Floats, Runs, looked_up

_SIGMA = 6.0
_SCALE = 10.0


def cider(corpus: Corpus) -> Floats:
    """CIDEr-D of each picture, (N,), 0 to 10; that of the set is their mean.

    What is rare depends on the set: a set of one picture scores 0.  A length is a number of pairs of words, as in
    COCO's tool.
    """
    of = corpus.picture_of
    apart = np.maximum(0, corpus.lengths[of] - 1) - np.maximum(0, corpus.reference_lengths - 1)
    near = np.exp(-(apart**2) / (2 * _SIGMA**2))
    similarity = sum(_similarity(corpus, corpus.candidates[n], corpus.references[n]) for n in range(LONGEST)) * near
    references = np.bincount(of, minlength=len(corpus))
    scores: Floats = np.bincount(of, similarity, len(corpus)) / LONGEST / references * _SCALE
    return scores


def _similarity(corpus: Corpus, candidates: Runs, references: Runs) -> Floats:
    """Of each reference with its picture's candidate, in runs of one length, (S,)."""
    held = np.unique(references.keys(corpus.picture_of)) % max(1, references.runs)
    pictures = np.bincount(held, minlength=references.runs)
    rarity = np.log(len(corpus)) - np.log(np.maximum(1, pictures))
    given, told = candidates.count * rarity[candidates.run], references.count * rarity[references.run]
    keys = candidates.keys(np.arange(len(corpus)))
    shared = np.minimum(looked_up(keys, given, references.keys(corpus.picture_of)), told) * told
    norms = np.sqrt(np.bincount(candidates.sentence, given**2, len(corpus)))[corpus.picture_of]
    norms = norms * np.sqrt(np.bincount(references.sentence, told**2, len(corpus.picture_of)))
    sums = np.bincount(references.sentence, shared, len(corpus.picture_of))
    cosines: Floats = sums / np.where(norms > 0, norms, 1)
    return cosines
