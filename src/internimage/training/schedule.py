"""Learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


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
