"""Which answers there are, and which of them a question teaches.  No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from internimage.multimodal.data.pairs import Pairs, Question
from internimage.multimodal.metrics.answers import VQA_RULE, normalised, rule

_MOST = 3_129  # as usual for VQA v2: those given nine times or more there


def known_answers(part: Pairs) -> tuple[str, ...]:
    """The answers of a part, in alphabetical order; of more than 3,129 those that are given most often."""
    counts = Counter(
        answer for one in part.entries for question in one.questions for answer in dict.fromkeys(spelled(question))
    )
    return tuple(sorted(answer for answer, _ in counts.most_common(_MOST)))


def spelled(question: Question) -> list[str]:
    """The answers to a question, as they are compared; empty ones left out."""
    if not question.answers:
        return []
    several = rule(question.answers) == VQA_RULE
    plain = (normalised(one) if several else " ".join(one.lower().split()) for one in question.answers)
    return [one for one in plain if one]


def shares(question: Question, numbers: Mapping[str, int]) -> dict[int, float]:
    """How right each known answer is, by its number: min(1, c / 3) where c of several people gave it, else 1."""
    given = Counter(spelled(question))
    people = 3 if len(question.answers) > 3 else 1
    return {numbers[answer]: min(1.0, count / people) for answer, count in given.items() if answer in numbers}


def texts_of(part: Pairs) -> Iterable[str]:
    """Everything that is written about the pictures of a part, each text once."""
    found: dict[str, None] = {}
    for one in part.entries:
        found.update(dict.fromkeys(one.captions))
        for question in one.questions:
            found[question.text] = None
            found.update(dict.fromkeys(spelled(question)))
    return found
