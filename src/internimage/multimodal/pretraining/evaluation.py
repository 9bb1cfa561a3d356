"""A backbone in pre-training, measured on pictures that it does not learn from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.multimodal.metrics.neighbours import neighbour_accuracy
from internimage.multimodal.metrics.retrieval import RetrievalScore
from internimage.multimodal.pretraining.pictures import Sight, Sights
from internimage.multimodal.results.pretrained import PretrainedPicture
from internimage.writing import json_text, write_text

if TYPE_CHECKING:
    from internimage.data.samples import EvaluationSample

_NAMES = {
    **{"neighbours": "class of 5 nearest pictures", "nearest_class": "nearest class embedding"},
    **{"image_to_text_r1": "R@1 text of picture", "text_to_image_r1": "R@1 picture of text"},
}
_NUMBERS = {
    **{"intra": "hidden cells", "inter": "other view", "deviation": "deviation of features"},
}


@dataclass
class ViewsReport:
    """Errors of what is predicted, how different features are, and what they say of classes and texts.

    "neighbours" is about the backbone alone and needs no training: each picture is given the class of most of the five
    that are nearest to it among those that are measured.  "nearest_class" is the accuracy of the class embeddings that
    were learnt.  Errors are those of a moving target and cannot be compared between runs, nor well within one; a
    "deviation" (mean over channels of the features' standard deviation over pictures) near 0 says that all features are
    alike.

    Attributes:
        data: what it is measured on.
        done: share of its run that the model was trained for.
        classes: names of the model's classes.
        retrieval: running scores of texts.
        unreadable: files left out.
        left_out: what else of the data was not measured, a line for each reason.
    """

    data: Sights
    done: float
    classes: tuple[str, ...]
    retrieval: RetrievalScore = field(default_factory=RetrievalScore)
    unreadable: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _rows: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    _places: dict[Sight, int] = field(default_factory=dict)

    @classmethod
    def on(cls, pipeline: Any, data: Sights) -> ViewsReport:
        """An empty report."""
        places = {entry: place for place, entry in enumerate(data.entries)}
        return cls(data, float(pipeline.model.done), pipeline.labels or (), _places=places)

    def add(self, result: PretrainedPicture, sample: EvaluationSample) -> None:
        """Count one picture; the truth is what the data says of it."""
        entry: Sight = sample.entry
        place = self._places[entry]
        nearest = None if result.nearest is None else result.nearest[1]
        self._rows[place] = (result.features, entry.label, result.intra, result.inter, nearest)
        if result.captions is not None:
            self.retrieval.add(result.picture, result.captions, place)

    def state(self) -> Any:
        return self._rows, self.retrieval.state()

    def merge(self, states: Sequence[Any]) -> None:
        self._rows = {place: row for rows, _ in states for place, row in rows.items()}
        self.retrieval.merge([state for _, state in states])

    def compute(self) -> dict[str, float]:
        """ "score", by which weights are kept: "neighbours" where classes are known, else the share of the run."""
        rows = [row for _, row in sorted(self._rows.items())]
        features = np.stack([row[0] for row in rows])
        numbers = {
            "intra": float(np.mean([row[2] for row in rows])),
            "inter": float(np.mean([row[3] for row in rows])),
            "deviation": float(features.std(0).mean()),
        }
        known = [row for row in rows if row[1] is not None]
        if len({row[1] for row in known}) > 1:
            labels = np.array([row[1] for row in known])
            numbers["neighbours"] = neighbour_accuracy(np.stack([row[0] for row in known]), labels)
            told = [row for row in known if row[4] is not None]
            if told and self.data.classes:
                numbers["nearest_class"] = float(np.mean([self.data.classes[row[1]] == row[4] for row in told]))
        numbers |= self.retrieval.compute() if len(self.retrieval) else {}
        score = numbers.get("neighbours", self.done)
        return {"score": score, **numbers, "images": float(len(rows))}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**self.compute(), "unreadable": self.unreadable, "left_out": self.left_out}

    def table(self) -> str:
        """The numbers as text."""
        numbers: Mapping[str, float] = self.compute()
        parts = [f"{text} {numbers[name]:.1%}" for name, text in _NAMES.items() if name in numbers]
        parts += [f"{text} {numbers[name]:.3f}" for name, text in _NUMBERS.items()]
        lines = ["  ".join([*parts, f"images {int(numbers['images'])}"])]
        return "\n".join([*lines, *(f"left out: {name}" for name in self.unreadable), *self.left_out])

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write metrics.json; return its path."""
        metrics = Path(folder).expanduser() / "metrics.json"
        write_text(metrics, json_text(self.to_dict(), indent=2) + "\n")
        return [metrics]
