"""Which images an epoch takes: each once, by their classes, or those with rare classes several times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Protocol, Self

import torch
from torch import Tensor

from internimage.data.samples import Part
from internimage.errors import ConfigError
from internimage.settings.training import TrainingConfig
from internimage.writing import counted

Labels = Sequence[frozenset[int]]
"""Of each image, the numbers of the classes that it shows."""


class Order(Protocol):
    """Which images an epoch takes.

    Attributes:
        length: how many, those that it takes several times counted so often.
    """

    @property
    def length(self) -> int: ...

    def draw(self, generator: torch.Generator) -> Tensor:
        """(length,) int64: numbers of images, one after the other, in an order that the generator decides."""

    def for_updates(self, images: int) -> Order:
        """The same for a run whose updates take so many images, one after the other."""

    @property
    def told(self) -> str | None:
        """What is not as usual, for people."""


class _AnyUpdates:
    """An order that does not depend on what an update takes."""

    def for_updates(self, images: int) -> Self:
        return self


@dataclass(frozen=True)
class EachOnce(_AnyUpdates):
    """All images of a set, each once."""

    length: int

    @property
    def told(self) -> None:
        return None

    def draw(self, generator: torch.Generator) -> Tensor:
        return torch.randperm(self.length, generator=generator)


@dataclass(frozen=True)
class Repeated(_AnyUpdates):
    """Each image so many times.

    Attributes:
        times: (N,) int64, of each of N images; those with 0 are left out.
        told: see :class:`Order`.
    """

    times: Tensor
    told: str | None = None

    @property
    def length(self) -> int:
        return int(self.times.sum())

    def draw(self, generator: torch.Generator) -> Tensor:
        numbers = torch.arange(len(self.times)).repeat_interleave(self.times)
        return numbers[torch.randperm(len(numbers), generator=generator)]


@dataclass(frozen=True)
class ByClass(_AnyUpdates):
    """Class-aware sampling (Shen et al., 2016): every class as often as every other.

    The classes in random order, again and again, each time in a new one; of a class each time its next image, all of
    them in random order before one comes again.

    Attributes:
        images: of each class that is shown, (n,) int64 numbers of the images that show it.
        length: of an epoch.
        told: see :class:`Order`.
    """

    images: tuple[Tensor, ...]
    length: int
    told: str | None = None

    def draw(self, generator: torch.Generator) -> Tensor:
        classes = cycles(torch.arange(len(self.images)), self.length, generator)
        order = torch.empty(self.length, dtype=torch.int64)
        places = classes.argsort(stable=True).split(torch.bincount(classes, minlength=len(self.images)).tolist())
        for images, where in zip(self.images, places, strict=True):
            order[where] = cycles(images, len(where), generator)
        return order


def cycles(numbers: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """(length,): all of the numbers in random order, then all in another one, and so on."""
    rounds = [numbers[torch.randperm(len(numbers), generator=generator)] for _ in range(ceil(length / len(numbers)))]
    return torch.cat([numbers[:0], *rounds])[:length]


def training_order(part: Part, config: TrainingConfig) -> Order:
    """The order that a run takes the images of a part in, see :class:`TrainingConfig`.

    Raises:
        ConfigError: it depends on what the images show, and that is not known.
    """
    if config.sampling == "uniform":
        if config.repeat == 1:
            return EachOnce(len(part))
        times = torch.full((len(part),), config.repeat)
        return Repeated(times, f"an epoch takes each of {counted(len(part), 'picture')} {config.repeat} times")
    labels = part.shown()
    if not any(labels):
        raise ConfigError(
            f"{config.sampling} sampling needs to know what each picture of {part.name} shows, which takes too long "
            "to find out of so many masks; use --sampling uniform"
        )
    shown = len(frozenset().union(*labels))
    bare = sum(not one for one in labels)
    without = f"; {counted(bare, 'picture')} without objects left out" if bare else ""
    if config.sampling == "class-aware":
        length = config.repeat * (len(labels) - bare)
        text = f"class-aware sampling: an epoch takes {length} pictures, as many of each of {shown} classes{without}"
        return ByClass(images_of_classes(labels), length, text)
    times = torch.tensor([config.repeat * ceil(one) for one in repeat_factors(labels, config.repeat_threshold)])
    most, share = counted(int(times.max()), "time"), f"{config.repeat_threshold:.3g}"
    rare = f"those that show a class which less than {share} of them show up to {most}"
    if times.max() == config.repeat:
        rare = f"each {most}: no class is in less than {share} of them"
    return Repeated(times, f"repeat-factor sampling: an epoch takes {times.sum()} pictures, {rare}{without}")


def images_of_classes(labels: Labels) -> tuple[Tensor, ...]:
    """Of each class that is shown, by its number: (n,) int64 numbers of the images that show it."""
    found: dict[int, list[int]] = {}
    for number, shown in enumerate(labels):
        for label in shown:
            found.setdefault(label, []).append(number)
    return tuple(torch.tensor(found[label]) for label in sorted(found))


def repeat_factors(labels: Labels, threshold: float) -> list[float]:
    """How often each image is taken (Gupta et al., LVIS, 2019), before rounding; 0 for images that show nothing.

    ``max over its classes c of max(1, sqrt(threshold / f_c))``, ``f_c`` being the share of images, of those that show
    anything, that show c.
    """
    images = sum(bool(one) for one in labels)
    frequency = Counter(label for one in labels for label in one)
    factor = {label: max(1.0, sqrt(threshold / (count / images))) for label, count in frequency.items()}
    return [max((factor[label] for label in one), default=0.0) for one in labels]
