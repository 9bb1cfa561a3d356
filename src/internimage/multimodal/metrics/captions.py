"""The scores of captions that COCO's evaluation reports: BLEU-1 to 4, ROUGE-L, CIDEr, and METEOR where it can run."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from internimage.errors import DataError
from internimage.multimodal.metrics.bleu import bleu
from internimage.multimodal.metrics.cider import cider
from internimage.multimodal.metrics.ngrams import Floats, corpus_of
from internimage.multimodal.metrics.rouge import rouge_l
from internimage.multimodal.metrics.treebank import words

_SPICE = "SPICE: a Java program whose files nobody ships; not computed"
_Words: TypeAlias = "tuple[str, ...]"


class CaptionScore:
    """Adds up captions picture by picture.

    Args:
        meteor: whether METEOR is computed where pycocoevalcap and Java are there; it takes seconds to start.

    Attributes:
        left_out: scores that are not computed, and why, a line each; complete after :meth:`compute`.
    """

    def __init__(self, *, meteor: bool = True) -> None:
        self.meteor = meteor
        self.left_out: list[str] = []
        self._rows: list[tuple[_Words, tuple[_Words, ...]]] = []
        self._computed: dict[str, float] | None = None

    def add(self, caption: str, references: Sequence[str]) -> None:
        """One picture: its caption, which may be empty, and what people wrote.

        Raises:
            DataError: there are no references.
        """
        if not references:
            raise DataError("a picture has no captions to compare with; expected one or more")
        self._rows.append((tuple(words(caption)), tuple(tuple(words(one)) for one in references)))
        self._computed = None

    def __len__(self) -> int:
        return len(self._rows)

    def state(self) -> Any:
        return self._rows

    def merge(self, states: Sequence[Any]) -> None:
        self._rows = [row for rows in states for row in rows]
        self._computed = None

    def compute(self) -> dict[str, float]:
        """ "bleu1" to "bleu4", "rouge_l", "cider" (about 0 to 2), "meteor" if it ran, and "images".

        The same for any order of the pictures, but for METEOR's last digits.
        """
        if self._computed is None:
            self._computed = self._compute()
        return dict(self._computed)

    def per_picture(self) -> dict[str, Floats]:
        """The same scores of each picture, (N,), in the order in which they were added; without METEOR.

        BLEU of single pictures is what the published tool calls so: nearly 0 where a run of some length is not shared.
        """
        corpus = corpus_of([row[0] for row in self._rows], [row[1] for row in self._rows])
        _, each = bleu(corpus)
        found = {f"bleu{n}": scores for n, scores in enumerate(each, 1)}
        return found | {"rouge_l": np.array([rouge_l(*row) for row in self._rows]), "cider": cider(corpus)}

    def _compute(self) -> dict[str, float]:
        self.left_out = [_SPICE]
        if not self._rows:
            return {}
        corpus = corpus_of([row[0] for row in self._rows], [row[1] for row in self._rows])
        whole, _ = bleu(corpus)
        numbers = {f"bleu{n}": float(score) for n, score in enumerate(whole, 1)}
        numbers["rouge_l"] = math.fsum(rouge_l(*row) for row in self._rows) / len(self._rows)
        numbers["cider"] = math.fsum(cider(corpus)) / len(self._rows)
        score = _meteor(self._rows) if self.meteor else "METEOR: not asked for"
        if isinstance(score, str):
            self.left_out = [score, _SPICE]
        else:
            numbers["meteor"] = score
        return numbers | {"images": float(len(self._rows))}


def _meteor(rows: Sequence[tuple[_Words, tuple[_Words, ...]]]) -> float | str:
    """METEOR 1.5 (Denkowski and Lavie, 2014) of a set, or why there is none."""
    try:
        from pycocoevalcap.meteor.meteor import Meteor
    except ImportError:
        return "METEOR: needs pycocoevalcap (pip install pycocoevalcap) and Java"
    if shutil.which("java") is None:
        return "METEOR: needs Java, of which no `java` is found"
    truth = {number: [" ".join(one) for one in references] for number, (_, references) in enumerate(rows)}
    given = {number: [" ".join(candidate)] for number, (candidate, _) in enumerate(rows)}
    try:
        score, _ = Meteor().compute_score(truth, given)
    except (OSError, ValueError) as error:
        return f"METEOR: its Java program failed ({error})"
    return float(score)
