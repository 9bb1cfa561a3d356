"""The parts of a data set."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from internimage.errors import DataError

Part = TypeVar("Part")


def choose_part(parts: Mapping[str, Part], root: Path, part: str) -> Part:
    """The named one of ``parts``; "all" is the only one there is."""
    if part != "all":
        if part not in parts:
            raise DataError(f"{root} has no part {part!r}; it has {', '.join(parts)}")
        return parts[part]
    if len(parts) > 1:
        raise DataError(f"{root} has the parts {', '.join(parts)}; choose one (--part)")
    return next(iter(parts.values()))


One = TypeVar("One")


def divide(images: Sequence[One], name: str, fraction: float, seed: int) -> tuple[tuple[One, ...], tuple[One, ...]]:
    """Images to train on, and those set aside: at least one, not all, the same for the same ``seed``.

    Raises:
        DataError: there is one image, or ``fraction`` is no share.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the validation fraction is {fraction}; expected a number between 0 and 1")
    count = len(images)
    if count < 2:
        raise DataError(f"{name} has one image; too few to set some aside for validation")
    some = min(max(1, round(count * fraction)), count - 1)
    chosen = set(random.Random(f"{seed}").sample(range(count), some))
    taken = tuple(image for index, image in enumerate(images) if index in chosen)
    return tuple(image for index, image in enumerate(images) if index not in chosen), taken


@dataclass(frozen=True)
class Splits(Generic[Part]):
    """The parts of a data set, all with the classes of ``train``.

    Attributes:
        train, val, test: the parts; ``test`` is None where there is none.
        set_aside: whether ``val`` was taken from the training images.
    """

    train: Part
    val: Part
    test: Part | None
    set_aside: bool
