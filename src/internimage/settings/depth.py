"""How deep pixels become the 8 bits of a channel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from numbers import Real

from internimage.errors import ConfigError


@dataclass(frozen=True)
class Depth:
    """How pixels of more than 8 bits become 8 bits; those of 8 bits stay as they are.

    By default 16 bits lose their low byte, so that 65,535 becomes 255; whoever has 12 bits in 16 says so here.

    Attributes:
        range: the values that become 0 and 255; what lies beyond them becomes 0 or 255 too.
        percentiles: the same, as percentiles of each picture's values, all its channels together.
    """

    range: tuple[float, float] | None = None
    percentiles: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.range is not None and self.percentiles is not None:
            raise ConfigError("a range and percentiles of deep pixels contradict each other; give one")
        for what, pair in (("range", self.range), ("percentiles", self.percentiles)):
            if pair is not None and not _are_two_numbers(pair):
                raise ConfigError(f"the {what} of deep pixels is {pair!r}; expected two numbers, the lower one first")
        if self.range is not None and not -inf < self.range[0] < self.range[1] < inf:
            raise ConfigError(f"the range of deep pixels is {self.range}; expected two numbers, the lower one first")
        if self.percentiles is not None and not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ConfigError(f"the percentiles of deep pixels are {self.percentiles}; expected 0 <= low < high <= 100")

    def __str__(self) -> str:
        if self.range is not None:
            return f"{self.range[0]:g} to {self.range[1]:g} become 0 to 255"
        if self.percentiles is not None:
            low, high = self.percentiles
            return f"from percentile {low:g} to {high:g} of each picture become 0 to 255"
        return "16 bits lose their low byte"


def _are_two_numbers(pair: object) -> bool:
    numbers = list(pair) if isinstance(pair, Iterable) else []
    return len(numbers) == 2 and all(isinstance(number, Real) for number in numbers)


WHOLE = Depth()
"""The whole range of 16 bits."""
