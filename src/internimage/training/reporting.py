"""Where a run tells what it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Reporter(Protocol):
    """Where a run tells what it does; called on the main process alone."""

    def note(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...
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
