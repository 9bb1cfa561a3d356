"""What the numbers of masks stand for where no file says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from internimage.data.formats.mask_folders import Colour
from internimage.data.left_out import shortened
from internimage.data.masks import BACKGROUND, VOID, Coding, flat_ids
from internimage.data.samples import ImageFile
from internimage.errors import DataError, ImageReadError
from internimage.images.masks import grey_numbers, read_mask

FOREGROUND = "foreground"
_SEEN_FIRST = 2_000  # masks that are looked at for their numbers where no file names the classes
_LOOKED_AT = 100  # masks, where a file names the classes
_MOST = 256  # classes that are believed without a file
_FEW = 2  # numbers at edges that are believed: a thin class may have no inner pixel

Pairs = Mapping[str, Sequence[tuple[ImageFile, ImageFile]]]


@dataclass(frozen=True)
class Classes:
    """Names and colours (None for colours that are made up) of classes, and what stands for them in masks."""

    names: tuple[str, ...]
    palette: tuple[Colour, ...] | None
    coding: Coding


@dataclass
class _Numbers:
    """The numbers of some masks.

    Attributes:
        masks: how many were read.
        pixels: of each number.
        inner: numbers of pixels whose eight neighbours have it too.
        shown_in: masks that have a number.
    """

    masks: int = 0
    pixels: Counter[int] = field(default_factory=Counter)
    inner: set[int] = field(default_factory=set)
    shown_in: Counter[int] = field(default_factory=Counter)

    def add(self, numbers: NDArray[np.int32]) -> None:
        values, counts = np.unique(numbers, return_counts=True)
        self.masks += 1
        self.pixels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        self.shown_in.update(values.tolist())
        unknown = [value for value in values.tolist() if value not in self.inner]
        if unknown:
            self.inner |= set(np.unique(inner(numbers)).tolist())


def seen_classes(root: Path, pairs: Pairs) -> tuple[Classes, tuple[str, ...]]:
    """The numbers that masks have as classes, and what a person should know of it.

    Raises:
        DataError: there are none, they are colours, or they are plainly no classes.
    """
    found = _look(pairs, _SEEN_FIRST)
    classes = classes_of(found.pixels)
    if classes.names == (BACKGROUND, FOREGROUND):
        return classes, ()
    numbers = flat_ids(classes.coding.ids)
    if not numbers:
        raise DataError(f"{root}: none of the masks has a class, or none can be read (internimage data check)")
    _refuse_no_classes(root, numbers, found)
    return classes, (f"no classes.txt: the masks' numbers {_listed(numbers)}",)


def classes_of(numbers: Iterable[int]) -> Classes:
    """Numbers as classes: black and white are background and foreground, others are called by their number."""
    seen = set(numbers)
    if seen in ({0, VOID}, {0, 1}, {0, 1, VOID}):
        ids = grouped([0, 1 if 1 in seen else VOID])
        return Classes((BACKGROUND, FOREGROUND), None, Coding(ids, frozenset({VOID} - set(flat_ids(ids)))))
    known = sorted(seen - {VOID})
    return Classes(tuple(f"class {one}" for one in known), None, Coding(grouped(known)))


def area_numbers(pairs: Pairs) -> list[int]:
    """The numbers that have areas: pixels whose eight neighbours have it too, which soft edges have not.

    Raises:
        DataError: a mask is of colours.
    """
    return sorted(_look(pairs, _SEEN_FIRST).inner)


def is_black_and_white(pairs: Pairs) -> bool:
    """Whether masks are of 0 and 255, by a look at some: numbers of two named classes are 0 and 1 otherwise.

    Numbers between them, of smooth edges, are none that areas have.
    """
    seen = _look(pairs, _LOOKED_AT)
    return {0, VOID} in (set(seen.pixels), seen.inner)


def refuse_counted_from_one(root: Path, names: Sequence[str], pairs: Pairs) -> None:
    """Refuse names in a list without numbers where masks never have the 0 of the first name, but numbers from 1 on.

    They may be counted from 1, which shifts all names by one; or the first class is nowhere.  The masks are read only
    until one has a 0.

    Raises:
        DataError: nobody knows which.
    """
    numbers = set(_look(pairs, _SEEN_FIRST, until=0).pixels) - {VOID}
    if not numbers or 0 in numbers or max(numbers) > len(names):
        return
    seen, last = sorted(numbers), len(names) - 1

    def reading(first: int) -> str:
        meant = shortened([f"{number} is {names[number - first]}" for number in seen])
        lacking = shortened([name for number, name in enumerate(names, first) if number not in numbers], 3)
        return f"counted from {first}, {', '.join(meant)}" + (f" (not seen: {', '.join(lacking)})" if lacking else "")

    firsts = [1] if len(names) in numbers else [0, 1]
    ids = " or ".join(f'"ids": [{first}, ..., {first + last}]' for first in firsts)
    raise DataError(
        f"{root / 'classes.txt'} names {len(names)} classes from number 0 on; masks have no 0 but {_listed(seen)}: "
        f"{'; '.join(map(reading, firsts))}. Say so in a classes.json instead: "
        f'{{"classes": ["{names[0]}", ..., "{names[last]}"], {ids}}}'
    )


def grouped(ids: Iterable[Any]) -> tuple[tuple[int, ...], ...]:
    """The numbers of each class, of which most have one."""
    return tuple((one,) if isinstance(one, int) else tuple(one) for one in ids)


def _refuse_no_classes(root: Path, numbers: list[int], found: _Numbers) -> None:
    """What cannot be classes: numbers at edges, too many, one alone, another in each mask."""
    advice = "name the classes in classes.txt or classes.json (docs/segmentation.md)"
    at_edges = [one for one in numbers if one not in found.inner]
    if len(at_edges) > _FEW and 2 * len(at_edges) >= len(numbers):
        clear = _listed(sorted(found.inner & set(found.pixels)))
        raise DataError(
            f"{root}: the masks have {len(numbers)} different numbers, {len(at_edges)} of them only along edges, as "
            f"smooth drawing leaves them; areas have {clear}. Draw them without smoothing (internimage data check "
            f"--fix writes such a copy), then {advice}"
        )
    if len(numbers) > _MOST:
        raise DataError(f"{root}: the masks have {len(numbers)} different numbers, too many for classes; {advice}")
    if len(numbers) == 1:
        raise DataError(
            f"{root}: the masks have the number {numbers[0]} alone, so there is nothing to tell apart; expected at "
            f"least two, such as 0 and 255; if something is missing by right, {advice}"
        )
    alone = [one for one in numbers if one and found.shown_in[one] == 1]
    if found.masks > 2 * _FEW and len(numbers) > 2 * _FEW and len(alone) > 0.8 * (len(numbers) - 1):
        raise DataError(
            f"{root}: {len(alone)} of {len(numbers)} numbers are in one mask only, as those of single objects are; a "
            f"segmenter learns classes. For objects write COCO's JSON, or {advice}"
        )


def _look(pairs: Pairs, most: int, until: int | None = None) -> _Numbers:
    """At all masks; of more than ``most``, only at some; or until one has a number."""
    masks = sorted(mask for found in pairs.values() for _, mask in found)
    seen = _Numbers()
    for mask in masks[:: -(-len(masks) // most)]:
        try:
            pixels = read_mask(mask)
        except ImageReadError:
            continue  # training says which files cannot be read
        numbers = grey_numbers(pixels) if pixels.ndim == 3 else pixels
        if numbers is None and until is not None:
            continue  # reading it says so
        if numbers is None:
            raise DataError(f"{mask} is a mask of colours; a classes.json with classes and palette has to name them")
        seen.add(numbers)
        if until in seen.pixels:
            break
    return seen


def inner(numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Numbers (N,) of the pixels of a mask (H, W) whose eight neighbours all have the same."""
    if min(numbers.shape) < 3:
        return numbers
    middle = numbers[1:-1, 1:-1]
    same = np.ones(middle.shape, bool)
    height, width = middle.shape
    for down in range(3):
        for across in range(3):
            same &= numbers[down : down + height, across : across + width] == middle
    found: NDArray[np.int32] = middle[same]
    return found


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(shortened([str(one) for one in numbers]))
