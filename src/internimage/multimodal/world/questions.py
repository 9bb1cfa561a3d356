"""Questions about a picture of the world of shapes, each with its one answer of a closed list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from internimage.multimodal.data.pairs import Question
from internimage.multimodal.world.words import NUMBERS, SHAPES, Pair, plural

_OPPOSITE = {"left of": "right of", "above": "below"}


def of_shapes(
    random: np.random.Generator, pairs: Sequence[Pair], size: str, beside: str, nameable: Sequence[Pair]
) -> tuple[Question, ...]:
    """Questions about shapes.

    Args:
        random: which shape is counted, and which pair is asked for.
        pairs: colour and shape of each.
        size: "large" or "small" of one alone, else "".
        beside: "left of" or "above" for what the first of a pair is of the second, else "".
        nameable: pairs that a question may name.
    """
    asked = []
    if len(set(pairs)) == len(pairs):  # "the star" is one
        asked += [_asked("what color", f"what color is the {shape}", colour) for colour, shape in pairs]
        asked += [_asked("what shape", f"what shape is {colour}", shape) for colour, shape in pairs]
    asked.append(_asked("how many shapes", "how many shapes are there", NUMBERS[len(pairs)]))
    there = Counter(shape for _, shape in pairs)
    choice = list(there) if random.integers(2) else [shape for shape in SHAPES if shape not in there]
    shape = choice[int(random.integers(len(choice)))]
    asked.append(_asked("how many of a shape", f"how many {plural(shape)} are there", NUMBERS[there[shape]]))
    if size:
        asked.append(_asked("is it large", f"is the {pairs[0][1]} large", _yes(size == "large")))
    colour, shape = _pair_to_ask_for(random, pairs, nameable)
    asked.append(_asked("is there", f"is there a {colour} {shape}", _yes((colour, shape) in pairs)))
    if beside:
        (_, one), (_, two) = pairs
        asked.append(_asked("what is beside", f"what is {beside} the {two}", one))
        asked.append(_asked("what is beside", f"what is {_OPPOSITE[beside]} the {one}", two))
    return tuple(asked)


def of_light(lit: str) -> tuple[Question, ...]:
    return (
        _asked("what light", "what does the light show", lit),
        _asked("may we go", "may we go", _yes(lit == "green")),
    )


def of_sign(word: str) -> tuple[Question, ...]:
    return (
        _asked("first letter", "what is the first letter", word[0]),
        _asked("how many letters", "how many letters are there", NUMBERS[len(word)]),
    )


def _pair_to_ask_for(random: np.random.Generator, pairs: Sequence[Pair], nameable: Sequence[Pair]) -> Pair:
    """In half of all cases one that is there, else one with a colour or a shape that is there."""
    if random.integers(2):
        return pairs[int(random.integers(len(pairs)))]
    colours, shapes = {colour for colour, _ in pairs}, {shape for _, shape in pairs}
    others = [one for one in nameable if one not in pairs and (one[0] in colours or one[1] in shapes)]
    return others[int(random.integers(len(others)))]


def _yes(true: bool) -> str:
    return "yes" if true else "no"


def _asked(kind: str, text: str, answer: str) -> Question:
    answer_kind = "yes/no" if answer in ("yes", "no") else "number" if answer in NUMBERS else "other"
    return Question(text, (answer,), kind, answer_kind)
