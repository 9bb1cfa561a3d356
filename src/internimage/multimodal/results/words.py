"""What a model says of one picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from PIL import Image

from internimage.drawing.canvas import with_bars
from internimage.images import ImageSource


@dataclass(frozen=True)
class PictureWords:
    """A caption, answers, and the features by which a picture and its texts are found.

    Attributes:
        source: the picture, by name.
        caption: what the model writes; None from one that has not learnt to.
        score: probability of the caption.
        answers: to the questions that were asked, in order.
        picture: (d,) float32 of length 1; None from a model that has not learnt to compare.
        captions: (C, d), of the texts that the picture came with; None where it came with none.
        unknown: of these texts and questions, how many have words that the model does not know; it read the rest.
    """

    source: ImageSource
    caption: str | None
    score: float | None
    answers: tuple[str, ...] = ()
    picture: np.ndarray[Any, Any] | None = None
    captions: np.ndarray[Any, Any] | None = None
    unknown: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"image": self.source.name, "caption": self.caption, "score": self.score}

    def draw(self) -> Image.Image:
        """The picture with its caption below."""
        return with_bars(self.source.show(), PurePath(self.source.name).name, [(self.caption or "", self.score or 0.0)])

    def __repr__(self) -> str:
        return f"PictureWords({self.source.name}: {self.caption})"
