"""What a data set is once its files are found: images, labels, and what else is known of a photo."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, radians, sin
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from internimage.errors import DataError
from internimage.images import ArchiveMember

One = TypeVar("One")
Part = TypeVar("Part")
ImageFile: TypeAlias = "Path | ArchiveMember"


class HasFile(Protocol):
    """What a data set knows of one picture."""

    @property
    def file(self) -> ImageFile: ...


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


class TimeAndPlace(NamedTuple):
    """When and where a photo was taken, as far as it is known.

    Attributes:
        month: 1 to 12, or None.
        latitude, longitude: degrees, or None.
    """

    month: int | None = None
    latitude: float | None = None
    longitude: float | None = None

    def temporal(self) -> tuple[float, float, float, float]:
        """The month as a point on a circle, and two zeros; all zeros if unknown.

        The zeros stand for the hour, which the released model was trained without.
        """
        angle = 2 * pi * (self.month or 0) / 12
        return (sin(angle), cos(angle), 0.0, 0.0) if self.month else (0.0, 0.0, 0.0, 0.0)

    def spatial(self) -> tuple[float, float, float]:
        """The place as a point on the unit sphere; zeros if unknown.

        Degrees that are exactly zero count as unknown, as in the code that the released model was trained with.
        """
        if not self.latitude or not self.longitude:
            return 0.0, 0.0, 0.0
        latitude, longitude = radians(self.latitude), radians(self.longitude)
        return cos(latitude) * cos(longitude), cos(latitude) * sin(longitude), sin(latitude)


class LabelledImage(NamedTuple):
    """An image file, the number of its class, and the photo's time and place if the data tells them."""

    file: ImageFile
    label: int
    taken: TimeAndPlace | None = None


@dataclass(frozen=True)
class LabelledImages:
    """Image files with class numbers.

    Attributes:
        name: where they came from, for messages.
        classes: names of the classes; a label is an index into them.
        samples: the files.
    """

    name: str
    classes: tuple[str, ...]
    samples: tuple[LabelledImage, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def counts(self) -> list[int]:
        """Images of each class."""
        counts = [0] * len(self.classes)
        for sample in self.samples:
            counts[sample.label] += 1
        return counts
