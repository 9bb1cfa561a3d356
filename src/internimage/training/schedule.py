"""Learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable


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
