"""What a data set is once its files are found: images, labels, and what else is known of a photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, radians, sin
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from internimage.images import ArchiveMember

ImageFile: TypeAlias = "Path | ArchiveMember"


class HasFile(Protocol):
    """What a data set knows of one picture."""

    @property
    def file(self) -> ImageFile: ...


class Measured(NamedTuple):
    """What is known of one picture of a data set.

    Attributes:
        truth: what a result is compared with.
        known: what a model may be told beside the pixels, such as when and where a photo was taken.
    """

    truth: Any
    known: Any = None


class Part(Protocol):
    """Images of a data set with all that is known of them, such as :class:`LabelledImages`."""

    @property
    def name(self) -> str:
        """Where they came from, for messages."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""

    @property
    def entries(self) -> Sequence[Any]:
        """What is known of each image; it has ``file``."""

    def __len__(self) -> int: ...

    def measured(self, entry: Any, size: tuple[int, int]) -> Measured:
        """What the picture of an entry, of ``size`` (width, height), is measured by.

        Raises:
            ImageReadError: it cannot be read, or does not fit the picture.
        """


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

    @property
    def entries(self) -> tuple[LabelledImage, ...]:
        """The files; what every data set calls them."""
        return self.samples

    def measured(self, entry: LabelledImage, size: tuple[int, int]) -> Measured:
        """The number of its class; when and where it was taken."""
        return Measured(entry.label, entry.taken)

    def counts(self) -> list[int]:
        """Images of each class."""
        counts = [0] * len(self.classes)
        for sample in self.samples:
            counts[sample.label] += 1
        return counts
