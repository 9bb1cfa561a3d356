"""What a model that does several tasks says of one picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from PIL import Image

from internimage.drawing.canvas import with_bars
from internimage.images import ImageSource
from internimage.multimodal.results.words import PictureWords
from internimage.results.classification import Classification
from internimage.results.detections import Detections

_TOP = 3


@dataclass(frozen=True)
class Everything:
    """A caption, objects and classes of a picture; None for what the model has not learnt or was not asked.

    Attributes:
        source: the picture, by name.
        words: caption, answers and the features by which the picture is found.
        objects: with boxes and masks.
        names: probabilities of classes.
    """

    source: ImageSource
    words: PictureWords | None = None
    objects: Detections | None = None
    names: Classification | None = None

    def shown(self, score_threshold: float) -> Detections | None:
        """The objects of at least this score."""
        return None if self.objects is None else self.objects.filter(score_threshold)

    def lines(self, score_threshold: float) -> list[str]:
        """Everything as text, a line each."""
        lines = [] if self.words is None or self.words.caption is None else [self.words.caption]
        best = [] if self.names is None else self.names.top(_TOP)
        lines += [f"{one.score:6.1%}  {one.label}" for one in best]
        shown = self.shown(score_threshold)
        for i in range(0 if shown is None else len(shown)):
            assert shown is not None
            box = ", ".join(f"{value:.1f}" for value in shown.boxes[i])
            lines.append(f"{shown.scores[i]:6.1%}  {shown.name(i)}  ({box})")
        return lines

    def to_dict(self, score_threshold: float = 0.0) -> dict[str, Any]:
        """Plain data for JSON."""
        content: dict[str, Any] = {"image": self.source.name}
        if self.words is not None:
            content |= {"caption": self.words.caption, "score": self.words.score}
        if self.names is not None:
            content["classes"] = [{"label": one.label, "score": one.score} for one in self.names.top(5)]
        shown = self.shown(score_threshold)
        if shown is not None:
            found = shown.to_dict()
            content |= {name: found[name] for name in ("height", "width", "objects")}
        return content

    def draw(self, score_threshold: float = 0.3) -> Image.Image:
        """The picture with its objects, its caption and likeliest classes below."""
        picture = self.source.show() if self.objects is None else self.objects.draw(score_threshold)
        bars = []
        if self.words is not None and self.words.caption is not None:
            bars.append((self.words.caption, self.words.score or 0.0))
        bars += [] if self.names is None else [(one.label, one.score) for one in self.names.top(_TOP)]
        return with_bars(picture, PurePath(self.source.name).name, bars)

    def __repr__(self) -> str:
        return f"Everything({self.source.name}: {'; '.join(self.lines(0.3))})"
