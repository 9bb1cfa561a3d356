"""How images were set aside before twins and rare classes were looked at; runs of that time go on with it."""

from __future__ import annotations

import random
from collections import defaultdict

from internimage.data.samples import LabelledImages, Part
from internimage.errors import DataError


def divide_by_first_rule(part: Part, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the images to train on and of those set aside: of labelled images a share of each class.

    The order is that of the time: labelled images are sorted by file.
    """
    if isinstance(part, LabelledImages):
        return _of_each_class(part, fraction, seed)
    count = len(part)
    if count < 2:
        raise DataError(f"{part.name} has one image; too few to set some aside for validation")
    some = min(max(1, round(count * fraction)), count - 1)
    taken = set(random.Random(f"{seed}").sample(range(count), some))
    return [number for number in range(count) if number not in taken], sorted(taken)


def _of_each_class(part: LabelledImages, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    by_class: dict[int, list[int]] = defaultdict(list)
    for number, sample in enumerate(part.samples):
        by_class[sample.label].append(number)
    kept: list[int] = []
    taken: list[int] = []
    for label, numbers in by_class.items():
        random.Random(f"{seed}:{part.classes[label]}").shuffle(numbers)
        count = max(1, round(len(numbers) * fraction)) if len(numbers) > 1 else 0
        taken += numbers[:count]
        kept += numbers[count:]

    def place(number: int) -> tuple[object, int]:
        return part.samples[number].file, part.samples[number].label

    return sorted(kept, key=place), sorted(taken, key=place)  # type: ignore[type-var]
