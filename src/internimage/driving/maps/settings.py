"""How lines are chosen and drawn up.  No torch."""

from __future__ import annotations

from dataclasses import dataclass

from internimage.errors import ConfigError


@dataclass(frozen=True)
class LineSelection:
    """Which elements are reported.

    Attributes:
        keep: lines of a frame at most.
        score_threshold: of those that are; lower ones are left out.
    """

    keep: int = 35
    score_threshold: float = 0.1

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ConfigError(f"keep is {self.keep}; expected 1 or more")
        if not 0 <= self.score_threshold < 1:
            raise ConfigError(f"score_threshold is {self.score_threshold}; expected 0 <= score_threshold < 1")


@dataclass(frozen=True)
class GeneratorConfig:
    """Architecture of what draws a line vertex by vertex.

    Attributes:
        layers: how many.
        dropout: in training.
        vertices: of a line at most.
        nucleus: share of the probability from whose likeliest numbers one is drawn at random (Holtzman et al., The
            Curious Case of Neural Text Degeneration, ICLR 2020); 0 takes the likeliest.
    """

    layers: int = 6
    dropout: float = 0.2
    vertices: int = 64
    nucleus: float = 0.0

    def __post_init__(self) -> None:
        if self.layers < 1 or self.vertices < 2:
            raise ConfigError(f"{self.layers} layers, {self.vertices} vertices; expected 1 or more, 2 or more")
        for name in ("dropout", "nucleus"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 <= {name} < 1")
