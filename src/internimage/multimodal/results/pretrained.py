"""What a pre-trained backbone makes of one picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from PIL import Image

from internimage.drawing.canvas import with_bars
from internimage.images import ImageSource


@dataclass(frozen=True)
class PretrainedPicture:
    """Features, how well the picture is predicted from its parts, and the class that is nearest.

    Attributes:
        source: the picture, by name.
        features: (C,) float32, the mean over the backbone's last map.
        intra: squared error of its hidden cells.
        inter: squared error of another view.
        scores: (classes,), cosines.
        labels: names of the classes.
        picture: (d,) of length 1, as texts are compared with it.
        captions: (T, d), of the texts that it came with; None where it came with none, or nobody read them.
    """

    source: ImageSource
    features: np.ndarray[Any, Any]
    intra: float
    inter: float
    scores: np.ndarray[Any, Any]
    labels: tuple[str, ...]
    picture: np.ndarray[Any, Any]
    captions: np.ndarray[Any, Any] | None = None

    @property
    def nearest(self) -> tuple[int, str, float] | None:
        """Number, name and cosine of the nearest class; None from a model that knows none."""
        if not len(self.scores):
            return None
        best = int(self.scores.argmax())
        return best, self.labels[best] if self.labels else str(best), float(self.scores[best])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        nearest = self.nearest
        return {
            "image": self.source.name,
            "nearest_class": None if nearest is None else nearest[1],
            "cosine": None if nearest is None else nearest[2],
            "intra": self.intra,
            "inter": self.inter,
        }

    def draw(self) -> Image.Image:
        """The picture with the nearest class below."""
        bars = [] if self.nearest is None else [(self.nearest[1], max(0.0, self.nearest[2]))]
        return with_bars(self.source.show(), PurePath(self.source.name).name, bars)

    def __repr__(self) -> str:
        nearest = "no classes" if self.nearest is None else f"nearest to {self.nearest[1]}"
        return f"PretrainedPicture({self.source.name}: {nearest})"
