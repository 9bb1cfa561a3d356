"""What a data set is once its files are found: images, labels, and what else is known of a photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import cos, pi, radians, sin
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeAlias

from internimage.data.left_out import LeftOut, shortened
from internimage.errors import ChannelsError, DataError, ImageReadError
from internimage.images import ImageSource, Member
from internimage.settings.data import DataOptions
from internimage.writing import counted

_SKIPPING = "--on-corrupt skip, in Python on_corrupt='skip', leaves such files out"

ImageFile: TypeAlias = "Path | Member"


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


@dataclass(frozen=True)
class EvaluationSample:
    """One image to measure with.

    Attributes:
        entry: of the data set.
        source: the file.
        prepared: the picture as the model sees it.
        measured: what the result is compared with.
    """

    entry: Any
    source: ImageSource
    prepared: Any
    measured: Measured


class Part:
    """Images of a data set with all that is known of them; each task's data derive from it.

    Attributes:
        name: where they came from, for messages.
        classes: names of the classes.
        format: how they are written down, such as "COCO".
        left_out: what of the files is not among them.
        notes: what was understood differently than written, a line each.
        listed: whether the classes are the list of a known set, which stays whole whatever the images show.
    """

    name: str
    classes: tuple[str, ...]
    format: str = ""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    listed: bool = False

    @property
    def entries(self) -> Sequence[Any]:
        """What is known of each image; it has ``file``."""
        raise NotImplementedError

    @property
    def files(self) -> Sequence[ImageFile]:
        """The image files; cheaper than to go through the entries where there are millions."""
        return [entry.file for entry in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    def source(self, entry: Any) -> ImageSource:
        """What of an entry a pipeline reads."""
        return ImageSource(str(entry.file), entry.file)

    def sequence_of(self, entry: Any) -> str | None:
        """The name of the sequence that an entry is a moment of; None for pictures that stand alone.

        Entries of a sequence follow one another, are seen in this order by one process, and are not divided between
        training and validation.
        """
        return None

    def measured(self, entry: Any, size: tuple[int, int]) -> Measured:
        """What the picture of an entry, of ``size`` (width, height), is measured by.

        Raises:
            ImageReadError: it cannot be read, or does not fit the picture.
        """
        raise NotImplementedError

    def with_entries(self, entries: Sequence[Any], name: str) -> Self:
        """Some of the images, perhaps changed, under another name."""
        raise NotImplementedError

    def chosen(self, numbers: Sequence[int], name: str) -> Self:
        """Those images that have these places among the entries, under another name."""
        return self.with_entries([self.entries[number] for number in numbers], name)

    def with_classes(self, classes: tuple[str, ...]) -> Self:
        """The same images, numbered by another list of classes, which has all that they show.

        Raises:
            DataError: they show a class that is not in the list.
        """
        if classes == self.classes:
            return self
        raise DataError(f"{self.name} has the classes {', '.join(self.classes[:8])}; expected {', '.join(classes[:8])}")

    def labels_of(self, entry: Any) -> frozenset[int]:
        """Numbers of the classes that an image shows, as far as that is known without much work."""
        return frozenset()

    def shown(self) -> Sequence[frozenset[int]]:
        """The same of each image; cheaper than to go through the entries where there are millions."""
        return [self.labels_of(entry) for entry in self.entries]

    def used(self) -> frozenset[int] | None:
        """Numbers of the classes that any image shows; None where that is not known."""
        return None

    def usable(self, options: DataOptions) -> Self:
        """What training learns from and evaluation measures with; what is not among it is counted in ``left_out``."""
        return self

    def summary(self) -> str:
        """``18 pictures, cat 6, dog 6, owl 6``: what was understood, for people."""
        return counted(len(self), "picture")


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
class LabelledImages(Part):
    """Image files with class numbers.

    Attributes:
        name, classes, format, left_out, notes, listed: see :class:`Part`; a label is an index into ``classes``.
        samples: the files.
    """

    name: str
    classes: tuple[str, ...]
    samples: tuple[LabelledImage, ...]
    format: str = "class folders"
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    listed: bool = False

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

    def with_entries(self, entries: Sequence[Any], name: str) -> LabelledImages:
        return replace(self, samples=tuple(entries), name=name)

    def with_classes(self, classes: tuple[str, ...]) -> LabelledImages:
        number = renumbered(self, classes)
        samples = tuple(sample._replace(label=number[sample.label]) for sample in self.samples)
        return replace(self, classes=classes, samples=samples)

    def labels_of(self, entry: LabelledImage) -> frozenset[int]:
        return frozenset((entry.label,))

    def used(self) -> frozenset[int]:
        return frozenset(sample.label for sample in self.samples)

    def summary(self) -> str:
        return summarised(len(self), self.classes, self.counts())


def with_advice(error: ImageReadError) -> ImageReadError:
    """The error, with how to go on without such files where that helps."""
    return error if isinstance(error, ChannelsError) else ImageReadError(f"{error} ({_SKIPPING})")


def evaluation_sample(
    part: Part, entry: Any, read: Callable[[ImageSource], Any], prepare: Callable[[Any], Any]
) -> EvaluationSample:
    """An entry of a part, read and prepared as for prediction.

    Raises:
        ImageReadError: the picture, or what it is measured by, cannot be read.
    """
    source = part.source(entry)
    picture = read(source)
    return EvaluationSample(entry, source, prepare(picture), part.measured(entry, picture.size))


def renumbered(part: Part, classes: tuple[str, ...]) -> dict[int, int]:
    """For each class that a part shows its number in another list.

    Raises:
        DataError: one is not in the list.
    """
    number = {name: index for index, name in enumerate(classes)}
    names = {index: part.classes[index] for index in part.used() or range(len(part.classes))}
    if extra := sorted(set(names.values()) - set(classes)):
        raise DataError(
            f"{part.name} has the classes {', '.join(extra[:5])}, which are not among {', '.join(classes[:8])}"
        )
    return {index: number[name] for index, name in names.items()}


def summarised(pictures: int, classes: Sequence[str], counts: Sequence[int]) -> str:
    """``10 pictures, disc 20, square 10``, the most frequent classes first."""
    rows = sorted(zip(classes, counts, strict=True), key=lambda row: -row[1])
    return ", ".join([counted(pictures, "picture"), *shortened([f"{name} {count}" for name, count in rows])])
