"""Settings of what writes text word by word."""

from __future__ import annotations

from dataclasses import dataclass

from internimage.errors import ConfigError

_MOST_BEAMS = 64
_MOST_WORDS = 4096


@dataclass(frozen=True)
class DecodingOptions:
    """How the next word is chosen: the likeliest one (greedy), the likeliest sentence of several, or by chance.

    Attributes:
        beams: sentences that are followed at once (beam search); 1 is greedy.
        sample: draw each word by its probability; not together with ``beams``.
        temperature: of sampling; below 1 prefers likely words.
        top_p: of sampling, draw among the likeliest words that have this probability together.
        seed: of sampling; the same seed gives the same text on one machine.
        longest: greatest number of tokens.
    """

    beams: int = 1
    sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    longest: int = 64

    def __post_init__(self) -> None:
        for name, value, low, most in (
            ("beams", self.beams, 1, _MOST_BEAMS),
            ("longest", self.longest, 1, _MOST_WORDS),
        ):
            if not low <= value <= most:
                raise ConfigError(f"{name} is {value}; expected {low} to {most}")
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(f"temperature is {self.temperature}; expected a number above 0")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; expected above 0 and up to 1")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed is {self.seed}; expected 0 or more")
        if self.sample and self.beams > 1:
            raise ConfigError(f"{self.beams} beams and sampling exclude each other; choose one")
        if not self.sample and (self.temperature, self.top_p, self.seed) != (1.0, 1.0, 0):
            raise ConfigError("temperature, top_p and seed belong to sampling; leave them out, or sample")
