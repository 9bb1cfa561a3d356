"""What an image classifier says about one image."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from PIL import Image

from internimage.drawing.canvas import with_bars
from internimage.images import ImageSource


@dataclass(frozen=True)
class ScoredLabel:
    """One class and its probability."""

    index: int
    label: str
    score: float


@dataclass(frozen=True)
class Classification:
    """Probabilities of all classes for one image.

    Attributes:
        probabilities: (K,) float32, summing to one.
        names: of all K classes; "class 7" where the model has no names.
        source: the image, by name; it is read again when it is drawn, so that results stay small.
    """

    probabilities: np.ndarray[Any, Any]
    names: tuple[str, ...]
    source: ImageSource

    @property
    def labels(self) -> tuple[str, ...]:
        """The old name of :attr:`names`, for one release."""
        warnings.warn("Classification.labels is now called names", DeprecationWarning, stacklevel=2)
        return self.names

    @property
    def label(self) -> str:
        """Name of the most probable class."""
        return self.top(1)[0].label

    @property
    def score(self) -> float:
        """Probability of the most probable class."""
        return self.top(1)[0].score

    def top(self, k: int = 5) -> list[ScoredLabel]:
        """The ``k`` most probable classes, best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [ScoredLabel(int(i), self.names[i], float(self.probabilities[i])) for i in order]

    def to_dict(self, k: int = 5) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"image": self.source.name, "predictions": [asdict(scored) for scored in self.top(k)]}

    def draw(self, k: int = 5) -> Image.Image:
        """The picture with the ``k`` most probable classes as bars below it."""
        bars = [(scored.label, scored.score) for scored in self.top(k)]
        return with_bars(self.source.show(), PurePath(self.source.name).name, bars)

    def __repr__(self) -> str:
        best = ", ".join(f"{scored.label} {scored.score:.1%}" for scored in self.top(3))
        return f"Classification({self.source.name}: {best})"
