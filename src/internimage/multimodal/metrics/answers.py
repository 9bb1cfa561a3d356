"""Accuracy of answers to questions about pictures, as VQA's evaluation counts it (Antol et al., ICCV 2015).

Where ten people answered (or four and more), an answer is right as far as three others of them gave it: the mean over
all choices of leaving one person out of min(1, matches / 3).  Where one answer is known (or up to three), an answer is
right or wrong: it is one of them, whatever the case of the letters and the blanks around.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from internimage.errors import DataError
from internimage.multimodal.data.pairs import Question

_PEOPLE = 4  # answers of a question from which people are compared
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_BETWEEN_DIGITS = re.compile(r"\d,\d")
_STOP = re.compile(r"\.(?!\d)")
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBERS = {
    **{"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"},
    **{"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"},
}

VQA_RULE, EXACT_RULE = "VQA accuracy", "exact match"


def normalised(answer: str) -> str:
    """An answer as VQA's evaluation compares it: "The two dogs!" is "2 dogs"; "the" is nothing.

    Punctuation that touches a blank anywhere is deleted, else it becomes a blank; all of it is deleted where a comma
    stands between digits.
    """
    text = _without_breaks(answer)
    kept, joined = text, _BETWEEN_DIGITS.search(text) is not None
    for mark in _PUNCTUATION:
        touches = f"{mark} " in text or f" {mark}" in text
        kept = kept.replace(mark, "" if touches or joined else " ")
    found = (_NUMBERS.get(word, word) for word in _STOP.sub("", kept).lower().split())
    return " ".join(_contractions().get(word, word) for word in found if word not in _ARTICLES)


def accuracy(given: str, answers: Sequence[str]) -> float:
    """How right an answer is, 0 to 1, by the rule that :func:`rule` names.

    Raises:
        DataError: nobody knows an answer.
    """
    if rule(answers) == EXACT_RULE:
        return float(_plain(given) in map(_plain, answers))
    told, said = [_without_breaks(one) for one in answers], _without_breaks(given)
    if len(set(told)) > 1:
        told, said = [normalised(one) for one in told], normalised(said)
    matches = Counter(told)[said]
    right, wrong = min(1.0, (matches - 1) / 3), min(1.0, matches / 3)
    return (matches * right + (len(told) - matches) * wrong) / len(told) if matches else 0.0


def rule(answers: Sequence[str]) -> str:
    """How answers to a question with these answers are judged.

    Raises:
        DataError: there are none.
    """
    if not answers:
        raise DataError("a question has no answers to compare with; expected one or more")
    return VQA_RULE if len(answers) >= _PEOPLE else EXACT_RULE


class AnswerScore:
    """Adds up answers question by question."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, str, str, str]] = []

    def add(self, given: str, question: Question) -> float:
        """One answer; how right it is, 0 to 1.

        Raises:
            DataError: the question has no answers to compare with.
        """
        score = accuracy(given, question.answers)
        self._rows.append((score, rule(question.answers), question.kind, question.answer_kind))
        return score

    def __len__(self) -> int:
        return len(self._rows)

    def state(self) -> Any:
        return self._rows

    def merge(self, states: Sequence[Any]) -> None:
        self._rows = [row for rows in states for row in rows]

    def compute(self) -> dict[str, float]:
        """ "accuracy", 0 to 1, and "questions"; VQA's own program shows percent with two decimals."""
        scores = [row[0] for row in self._rows]
        return {"accuracy": sum(sorted(scores)) / len(scores), "questions": float(len(scores))} if scores else {}

    def rules(self) -> dict[str, int]:
        """How many questions were judged by which rule."""
        return dict(sorted(Counter(row[1] for row in self._rows).items()))

    def per_kind(self) -> dict[str, tuple[float, int]]:
        """Accuracy and number of the questions of each kind, by its name; those without a kind are not among them."""
        return self._per(2)

    def per_answer_kind(self) -> dict[str, tuple[float, int]]:
        """The same by the kind of the answer, such as "yes/no"."""
        return self._per(3)

    def _per(self, column: int) -> dict[str, tuple[float, int]]:
        found: dict[str, list[float]] = defaultdict(list)
        for row in self._rows:
            found[str(row[column])].append(row[0])
        return {
            name: (sum(sorted(scores)) / len(scores), len(scores)) for name, scores in sorted(found.items()) if name
        }


@cache
def _contractions() -> Mapping[str, str]:
    """VQA's table, without the entries that change nothing or can never be met in lower case."""
    place = files("internimage.multimodal.metrics").joinpath("contractions.json")
    found: dict[str, str] = json.loads(place.read_text(encoding="utf-8"))
    return found


def _without_breaks(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
