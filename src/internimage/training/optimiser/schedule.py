"""How long a run is, and the learning rate of each update."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from internimage.settings.training import TrainingConfig


@dataclass(frozen=True)
class Schedule:
    """The updates of a run.

    Attributes:
        updates_per_epoch, updates, epochs: how many.
        last_batches: batches of the last epoch, which a number of updates may cut short.
        factor: on the peak learning rate, from the number of updates done.
    """

    updates_per_epoch: int
    updates: int
    epochs: int
    last_batches: int
    factor: Callable[[int], float]

    def rest(self, epoch: int, batch: int, batches: int, every: int) -> tuple[int, int]:
        """Batches and evaluations, one ``every`` epochs, after this batch of an epoch of ``batches``."""
        left = (self.epochs - 1 - epoch) * batches + self.last_batches - batch
        return left, sum(one % every == 0 or one == self.epochs for one in range(epoch + 1, self.epochs + 1))


def make_schedule(config: TrainingConfig, batches: int) -> Schedule:
    """The schedule of a run with so many batches an epoch on each process."""
    per_epoch = math.ceil(batches / config.accumulate)
    warmup = config.warmup_updates or round(config.warmup_epochs * per_epoch)
    updates = config.updates or config.epochs * per_epoch
    epochs = math.ceil(updates / per_epoch)
    last = min(batches, (updates - (epochs - 1) * per_epoch) * config.accumulate)
    if config.lr_drops:
        factor = warmup_drops([epoch * per_epoch for epoch in config.lr_drops], warmup, start=config.warmup_start)
    elif config.lr_power:
        factor = warmup_power(updates, warmup, config.lr_power, start=config.warmup_start)
    else:
        factor = warmup_cosine(updates, warmup, start=config.warmup_start, end=config.end_lr)
    return Schedule(per_epoch, updates, epochs, last, factor)


def warmup_cosine(steps: int, warmup_steps: int, *, start: float = 1e-3, end: float = 1e-2) -> Callable[[int], float]:
    """Factor on the learning rate at each update: linear from ``start`` to 1, then half a cosine down to ``end``.

    The cosine is counted from the first update, not from the end of the warm-up, as in the published recipes.  A pure
    function of the update's number: a resumed run continues exactly.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return start + (1.0 - start) * step / warmup_steps
        return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * min(step, steps) / max(1, steps)))

    return factor


def warmup_drops(drops: Sequence[int], warmup_steps: int, *, start: float = 1e-3) -> Callable[[int], float]:
    """Factor on the learning rate at each update: linear from ``start`` to 1, then a tenth after each of ``drops``."""

    def factor(step: int) -> float:
        dropped = 0.1 ** sum(step >= drop for drop in drops)
        return dropped * (start + (1.0 - start) * step / warmup_steps if step < warmup_steps else 1.0)

    return factor


def warmup_power(steps: int, warmup_steps: int, power: float, *, start: float = 1e-3) -> Callable[[int], float]:
    """Factor on the learning rate at each update: the share of the run that is left, to a power.

    Times a warm-up, linear from ``start`` to 1, which it goes on falling in, as in the released schedules.
    """

    def factor(step: int) -> float:
        left = (1.0 - min(step, steps) / max(1, steps)) ** power
        return left * (start + (1.0 - start) * step / warmup_steps if step < warmup_steps else 1.0)

    return factor
