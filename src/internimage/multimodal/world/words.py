"""What there is in the world of shapes, and the words for it."""

from __future__ import annotations

from string import ascii_lowercase
from typing import Literal

Colour = tuple[int, int, int]
Kind = Literal["one", "pair", "count", "light", "sign"]
Split = Literal["train", "seen", "held_out"]
Signs = Literal["letter", "listed", "words", "places"]
"""What signs say, from easy to hard: one letter, one of :data:`LISTED`, two to four letters, all in the middle of the
picture; two to four letters anywhere."""
Pair = tuple[str, str]
"""A colour and a shape."""

KINDS: tuple[Kind, ...] = ("one", "pair", "pair", "count", "light", "sign")
"""As often as each comes, in sixths."""
COLOURS: dict[str, Colour] = {
    "red": (222, 38, 38),
    "green": (36, 156, 60),
    "blue": (36, 76, 222),
    "yellow": (232, 200, 20),
    "purple": (140, 48, 176),
    "orange": (244, 136, 24),
    "cyan": (48, 196, 214),
    "gray": (116, 116, 116),
}
SHAPES = ("circle", "square", "triangle", "cross", "ring", "star")
NUMBERS = ("zero", "one", "two", "three", "four")
LIGHTS = ("red", "yellow", "green")
"""Lamps of a traffic light from above."""
LISTED = (
    *("stop", "go", "exit", "bus", "taxi", "slow", "bike", "park", "open", "shop"),
    *("zoo", "cafe", "road", "east", "west", "in", "out", "no", "hot", "ice"),
)
"""Words of signs at the level "listed"."""

PAIRS: tuple[Pair, ...] = tuple((colour, shape) for shape in SHAPES for colour in COLOURS)
HELD_OUT: tuple[Pair, ...] = tuple(
    (tuple(COLOURS)[(3 * number + shift) % 8], shape) for number, shape in enumerate(SHAPES) for shift in (1, 5)
)
"""Twelve pairs that no picture to learn from shows."""
SHOWN: tuple[Pair, ...] = tuple(pair for pair in PAIRS if pair not in HELD_OUT)

ANSWERS = (*COLOURS, *SHAPES, *NUMBERS, "yes", "no", *ascii_lowercase)
"""All answers there are: colours, shapes, numbers, yes and no, letters."""


def plural(shape: str) -> str:
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


_OTHERS = (
    *("a", "above", "are", "below", "color", "does", "first", "go", "how", "is", "large", "left", "letter", "letters"),
    *("light", "many", "may", "of", "right", "says", "shape", "shapes", "show", "showing", "sign", "small", "that"),
    *("the", "there", "traffic", "we", "what"),
)
VOCABULARY = tuple(sorted({*ANSWERS, *map(plural, SHAPES), *_OTHERS}))
"""All words of captions, questions and answers."""


def is_held_out(word: str) -> bool:
    """Whether no sign of random letters to learn from says this: every fifth word, in lower case."""
    return sum(map(ord, word)) % 5 == 0
