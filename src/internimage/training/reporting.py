"""Where a run tells what it does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_EVALUATED = 0.4  # what an evaluation costs of a training on the same images: no backward pass, larger pictures
_HALVED = 60.0  # seconds after which what was counts half


class Reporter(Protocol):
    """Where a run tells what it does; called on the main process alone.

    ``follow`` passes on the ``total`` items that are looked at before training begins, and shows the progress.
    """

    def note(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...
    def follow(self, items: Iterable[T], total: int, what: str) -> Iterable[T]: ...
    def batch(self, now: Moment) -> None: ...
    def epoch(self, row: dict[str, Any], improved: bool, shown: Sequence[str]) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Moment:
    """Where training stands within an epoch.

    Attributes:
        epoch, epochs: the one in progress, from 0, of how many.
        batch, batches: done in this epoch, of how many.
        update: optimiser steps done.
        loss: mean over the batches since the last moment; NaN if none was finite.
        lr: peak learning rate times the schedule's factor.
        images_per_second: over all processes, since the last moment.
        memory: bytes in use at most so far, of the GPU if there is one.
        seconds_left: until the run ends, about; None while nobody knows.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int
    update: int
    loss: float
    lr: float
    images_per_second: float
    memory: int
    seconds_left: float | None = None


class Clock:
    """How long a run will go on, from how long its parts took.

    The first batches wait for reading and compiling, so they count only until later ones are known.  Machines become
    faster and slower while a run goes on, so what was is forgotten: by half in a minute, and with each evaluation.
    Before the first evaluation, one is taken to cost a share of what training on as many images does.

    Args:
        evaluated: images of an evaluation, as a number of training batches.
    """

    def __init__(self, evaluated: float) -> None:
        self._evaluated = evaluated
        self._first: float | None = None
        self._batches, self._seconds = 0.0, 0.0
        self._evaluation: float | None = None

    def trained(self, batches: int, seconds: float) -> None:
        """Batches that took so long together."""
        if self._first is None:
            self._first = seconds / batches
        else:
            kept = 0.5 ** (seconds / _HALVED)
            self._batches = kept * self._batches + batches
            self._seconds = kept * self._seconds + seconds

    def measured(self, seconds: float) -> None:
        """An evaluation that took so long, with all that is written after it."""
        self._evaluation = seconds if self._evaluation is None else (self._evaluation + seconds) / 2

    def left(self, batches: int, evaluations: int) -> float | None:
        """Seconds for so many batches and evaluations."""
        batch = self._seconds / self._batches if self._batches else self._first
        if batch is None:
            return None
        evaluation = self._evaluation or _EVALUATED * self._evaluated * batch
        return batches * batch + evaluations * evaluation
