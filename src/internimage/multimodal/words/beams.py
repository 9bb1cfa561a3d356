"""Writing word by word: the best of several beams, the likeliest word each time, or words drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from internimage.errors import ConfigError

Advance: TypeAlias = Callable[[Tensor | None, Tensor | None], Tensor]
"""The next word's logits (R, V), after these words (R,) were written behind those of the rows (R,) of the call before.

The first call has neither words nor rows.
"""


@dataclass(frozen=True)
class Decoding:
    """How words are chosen.

    Attributes:
        beams: sentences that are followed at a time; 1 takes the likeliest word each time.
        steps: words at most, with the end token.
        length_penalty: a sentence's log-probability is divided by its length to this power before sentences are
            compared.
        temperature: draw words, from logits divided by this; None to choose the likeliest.
        top_p: draw from the likeliest words that have this share of the probability together.
        seed: of what is drawn.
    """

    beams: int = 2
    steps: int = 21
    length_penalty: float = 0.0
    temperature: float | None = None
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.beams < 1 or self.steps < 1:
            raise ConfigError(f"beams is {self.beams} and steps {self.steps}; expected 1 or more")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; expected 0 < top_p <= 1")
        if self.temperature is not None and not self.temperature > 0:
            raise ConfigError(f"temperature is {self.temperature}; expected more than 0, or None for the likeliest")
        if self.temperature is not None and self.beams != 1:
            raise ConfigError(f"temperature is {self.temperature} with {self.beams} beams; expected 1 beam to draw")
        if self.temperature is None and self.top_p != 1:
            raise ConfigError(f"top_p is {self.top_p} without a temperature; expected one, or leave top_p out")


@dataclass(frozen=True)
class Written:
    """Sentences.

    Attributes:
        words: (N, T) int64, filled with the end token behind it.
        log_probabilities: (N, T) of each word; 0 behind the end token.
        scores: (N,), their sums; divided by the length where the choice has a penalty.
    """

    words: Tensor
    log_probabilities: Tensor
    scores: Tensor


@torch.no_grad()
def write(advance: Advance, end: int, decoding: Decoding) -> Written:
    """Write until all sentences have ended, or for ``decoding.steps`` words.

    Args:
        advance: see there.
        end: the word that ends a sentence.
        decoding: how words are chosen.
    """
    if decoding.temperature is not None:
        return _drawn(advance, end, decoding)
    logits = advance(None, None).log_softmax(-1)
    sentences, beams = len(logits), min(decoding.beams, logits.shape[1])
    scores, chosen = logits.topk(beams)  # (N, B)
    words, each = chosen[..., None], scores[..., None]  # (N, B, T)
    parents = torch.arange(sentences, device=logits.device)[:, None].expand(-1, beams)
    offset = parents * beams
    ended = chosen == end
    for _ in range(1, decoding.steps):
        if bool(ended.all()):
            break
        logits = advance(chosen.flatten(), parents.flatten()).log_softmax(-1).unflatten(0, (sentences, beams))
        only_end = torch.full_like(logits[0, 0], -torch.inf)
        only_end[end] = 0.0
        logits = torch.where(ended[..., None], only_end, logits)
        scores, place = (scores[..., None] + logits).flatten(1).topk(beams)
        before, chosen = place // logits.shape[2], place % logits.shape[2]
        added = logits.flatten(1).gather(1, place)
        words, each = (
            torch.cat([past.gather(1, before[..., None].expand_as(past)), new[..., None]], dim=2)
            for past, new in ((words, chosen), (each, added))
        )
        parents, ended = before + offset, ended.gather(1, before) | (chosen == end)
    length = (words != end).sum(2) + 1
    scores = scores / length**decoding.length_penalty
    best, place = scores.max(1)
    row = torch.arange(sentences, device=scores.device)
    return Written(words[row, place], each[row, place], best)


def _drawn(advance: Advance, end: int, decoding: Decoding) -> Written:
    """Words at random."""
    assert decoding.temperature is not None
    words: list[Tensor] = []
    each: list[Tensor] = []
    rows: Tensor | None = None
    generator: torch.Generator | None = None
    ended = torch.zeros(1, dtype=torch.bool)
    while len(words) < decoding.steps and not (words and bool(ended.all())):
        logits = advance(words[-1] if words else None, rows)
        if rows is None:
            rows = torch.arange(len(logits), device=logits.device)
            generator = torch.Generator(logits.device).manual_seed(decoding.seed)
            ended = torch.zeros_like(rows, dtype=torch.bool)
        share = _likeliest((logits / decoding.temperature).softmax(-1), decoding.top_p)
        drawn = torch.multinomial(share, 1, generator=generator)
        likelihood = logits.log_softmax(-1).gather(1, drawn)[:, 0]
        each.append(likelihood.masked_fill(ended, 0.0))
        words.append(drawn[:, 0].masked_fill(ended, end))
        ended = ended | (words[-1] == end)
    written, known = torch.stack(words, 1), torch.stack(each, 1)
    length = (written != end).sum(1) + 1
    return Written(written, known, known.sum(1) / length**decoding.length_penalty)


def _likeliest(shares: Tensor, top_p: float) -> Tensor:
    """Probabilities (N, V) without those of words beyond the likeliest that have ``top_p`` together."""
    ordered, place = shares.sort(dim=-1, descending=True)
    beyond = ordered.cumsum(-1) - ordered >= top_p
    return torch.zeros_like(shares).scatter(1, place, ordered.masked_fill(beyond, 0.0))
