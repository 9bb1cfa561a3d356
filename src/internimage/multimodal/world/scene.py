"""A picture of the world of shapes with everything that is true of it: a pure function of seed and number."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any, NamedTuple, get_args

import numpy as np

from internimage.errors import ConfigError
from internimage.multimodal.data.pairs import Question
from internimage.multimodal.world.drawing import LIGHT_HALF, SIDE, Canvas, mask_and_box, sign_half
from internimage.multimodal.world.questions import of_light, of_shapes, of_sign
from internimage.multimodal.world.words import (
    HELD_OUT,
    KINDS,
    LIGHTS,
    LISTED,
    NUMBERS,
    PAIRS,
    SHOWN,
    Kind,
    Pair,
    Signs,
    Split,
    is_held_out,
    plural,
)

_SMALL, _MIDDLE, _LARGE, _SEVERAL = (24, 35), (28, 45), (60, 77), (24, 31)  # radii, the last one outside
_ROOM = 8  # units between shapes, and to the picture's edge
_APART = 73  # units between the middles of several: more than 18 pixels
_CLEARLY = 40  # units by which two shapes are further apart along one axis than along the other
_LEAST_SIZE, _MOST_SIZE = 32, 512
_TRIES = 100  # scenes looked at for each one of a gallery


@dataclass(frozen=True, eq=False)
class Object:
    """A shape in a picture.

    Attributes:
        colour, shape: see :mod:`internimage.multimodal.world.words`.
        size: "large" or "small" of one that is alone, else "".
        centre: (x, y) in pixels.
        box: x1, y1, x2, y2 of its pixels, the last ones outside.
        mask: (H, W), its pixels.
    """

    colour: str
    shape: str
    size: str
    centre: tuple[float, float]
    box: tuple[int, int, int, int]
    mask: np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and what is true of it.

    Attributes:
        picture: (H, W, 3) uint8 RGB.
        kind: of content.
        objects: its shapes, of a pair the left or upper one first; none in lights and signs.
        caption: the one sentence that describes it.
        questions: all that are asked of it, each with its one answer.
    """

    picture: np.ndarray[Any, np.dtype[np.uint8]]
    kind: Kind
    objects: tuple[Object, ...]
    caption: str
    questions: tuple[Question, ...]


class _Placed(NamedTuple):
    pair: Pair
    x: int
    y: int
    radius: int


def scene(
    seed: int,
    index: int,
    size: int = 64,
    split: Split = "train",
    *,
    without: Collection[Kind] = (),
    signs: Signs = "places",
) -> Scene:
    """One picture of the world; the same arguments give the same bytes everywhere.

    Args:
        seed, index: 0 or more.  Splits of one seed have no picture in common.
        size: side in pixels, a multiple of 8 from 32 to 512.
        split: "train" and "seen" hold no pair of :data:`HELD_OUT`, neither in pictures nor in questions, and no random
            word of :func:`is_held_out`; of "held_out" every picture of shapes holds one, and all random words are such.
        without: kinds to leave out; the others keep their shares among each other.
        signs: what they say.

    Raises:
        ConfigError: there are no such pictures.
    """
    _check(seed, index, size, split, without, signs)
    random = np.random.Generator(np.random.PCG64([seed, index, get_args(Split).index(split)]))
    kind = _one_of(random, [kind for kind in KINDS if kind not in without])
    canvas = Canvas(size, (_number(random, 214, 251), _number(random, 214, 251), _number(random, 214, 251)))
    objects: tuple[Object, ...] = ()
    if kind == "light":
        lit = _one_of(random, LIGHTS)
        canvas.light(*_somewhere(random, *LIGHT_HALF), lit)
        caption, questions = f"a traffic light showing {lit}", of_light(lit)
    elif kind == "sign":
        word = _word(random, split, signs)
        middle = SIDE // 2, SIDE // 2
        canvas.sign(*(_somewhere(random, *sign_half(word)) if signs == "places" else middle), word)
        caption, questions = f"a sign that says {' '.join(word)}", of_sign(word)
    else:
        placed = _placed(random, kind, split)
        objects = tuple(_drawn(canvas, one, kind, size) for one in placed)
        caption = _caption(kind, placed)
        pairs = [one.pair for one in placed]
        beside = _beside(placed)
        questions = of_shapes(random, pairs, objects[0].size, beside, PAIRS if split == "held_out" else SHOWN)
    return Scene(canvas.finished(random), kind, objects, caption, questions)


def gallery(
    seed: int,
    count: int = 100,
    size: int = 64,
    split: Split = "held_out",
    *,
    without: Collection[Kind] = (),
    signs: Signs = "places",
) -> tuple[Scene, ...]:
    """Pictures whose captions all differ, to search in: the first of each caption, in order.

    Raises:
        ConfigError: there are not so many captions, or no such pictures.
    """
    found: dict[str, Scene] = {}
    for index in range(_TRIES * count):
        one = scene(seed, index, size, split, without=without, signs=signs)
        found.setdefault(one.caption, one)
        if len(found) == count:
            return tuple(found.values())
    raise ConfigError(f"{count} pictures with different captions: only {len(found)} were found; ask for fewer")


def _check(seed: int, index: int, size: int, split: Split, without: Collection[Kind], signs: Signs) -> None:
    if min(seed, index) < 0:
        raise ConfigError(f"scene {index} of seed {seed}: expected numbers from 0 on")
    if size % 8 or not _LEAST_SIZE <= size <= _MOST_SIZE:
        raise ConfigError(f"size {size}: expected a multiple of 8 from {_LEAST_SIZE} to {_MOST_SIZE} pixels")
    for name, value, known in (("split", split, get_args(Split)), ("signs", signs, get_args(Signs))):
        if value not in known:
            raise ConfigError(f"{name} {value!r}: expected {', '.join(known)}")
    kinds = get_args(Kind)
    if set(without) - set(kinds) or set(kinds) <= set(without):
        raise ConfigError(f"without {', '.join(sorted(without))}: expected some of {', '.join(kinds)}, not all")


def _number(random: np.random.Generator, low: int, high: int) -> int:
    return int(random.integers(low, high))


def _one_of(random: np.random.Generator, things: Sequence[Any]) -> Any:
    return things[_number(random, 0, len(things))]


def _somewhere(random: np.random.Generator, across: int, down: int) -> tuple[int, int]:
    """A middle for something of this half width and height."""
    return (
        _number(random, across + 4, SIDE - across - 3),
        _number(random, down + 4, SIDE - down - 3),
    )


def _word(random: np.random.Generator, split: Split, signs: Signs) -> str:
    if signs == "letter":
        return _one_of(random, ascii_lowercase)
    if signs == "listed":
        return _one_of(random, LISTED)
    while True:
        word = "".join(_one_of(random, ascii_lowercase) for _ in range(_number(random, 2, 5)))
        if is_held_out(word) == (split == "held_out"):
            return word


def _placed(random: np.random.Generator, kind: Kind, split: Split) -> list[_Placed]:
    pair: Pair = _one_of(random, HELD_OUT if split == "held_out" else SHOWN)
    if kind == "one":
        radius = _number(random, *_one_of(random, (_SMALL, _LARGE)))
        return [_Placed(pair, *_middle(random, radius), radius)]
    if kind == "count":
        radius = _number(random, *_SEVERAL)
        places = _apart(random, _number(random, 2, 5), radius)
        return [_Placed(pair, x, y, radius) for x, y in places]
    others = PAIRS if split == "held_out" else SHOWN
    other = _one_of(random, [(c, s) for c, s in others if c != pair[0] and s != pair[1]])
    while True:
        one, two = (
            _Placed(pair, *_middle(random, radius), radius)
            for pair, radius in ((pair, _number(random, *_MIDDLE)), (other, _number(random, *_MIDDLE)))
        )
        across, down = abs(one.x - two.x), abs(one.y - two.y)
        if max(across, down) >= _reach(one.radius) + _reach(two.radius) and abs(across - down) >= _CLEARLY:
            return sorted((one, two), key=lambda place: place.x if across > down else place.y)


def _reach(radius: int) -> int:
    """Units that a shape may reach from its middle, with some room."""
    return radius * 113 // 100 + _ROOM // 2


def _middle(random: np.random.Generator, radius: int) -> tuple[int, int]:
    return _somewhere(random, _reach(radius), _reach(radius))


def _apart(random: np.random.Generator, count: int, radius: int) -> list[tuple[int, int]]:
    while True:
        places: list[tuple[int, int]] = []
        for _ in range(8 * count):
            x, y = _middle(random, radius)
            clear = 2 * radius + _ROOM  # squares may be side by side
            if all(
                (x - a) ** 2 + (y - b) ** 2 >= _APART**2 and max(abs(x - a), abs(y - b)) >= clear for a, b in places
            ):
                places.append((x, y))
            if len(places) == count:
                return places


def _drawn(canvas: Canvas, one: _Placed, kind: Kind, size: int) -> Object:
    colour, shape = one.pair
    mask, box = mask_and_box(canvas.shape(shape, colour, one.x, one.y, one.radius))
    large = "large" if one.radius >= _LARGE[0] else "small"
    centre = one.x * size / SIDE, one.y * size / SIDE
    return Object(colour, shape, large if kind == "one" else "", centre, box, mask)


def _beside(placed: Sequence[_Placed]) -> str:
    """What the first of a pair is of the second: "left of" or "above"; else ""."""
    if len({one.pair for one in placed}) == 1:
        return ""
    one, two = placed
    return "left of" if abs(one.x - two.x) > abs(one.y - two.y) else "above"


def _caption(kind: Kind, placed: Sequence[_Placed]) -> str:
    names = [" ".join(one.pair) for one in placed]
    if kind == "one":
        return f"a {'large' if placed[0].radius >= _LARGE[0] else 'small'} {names[0]}"
    if kind == "pair":
        return f"a {names[0]} {_beside(placed)} a {names[1]}"
    colour, shape = placed[0].pair
    return f"{NUMBERS[len(placed)]} {colour} {plural(shape)}"
