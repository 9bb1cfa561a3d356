"""A classifier measured on labelled images."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from internimage.data.coco import ObjectImages, read_object_parts
from internimage.data.labelled import read_parts
from internimage.data.regions import RegionImages, read_region_parts
from internimage.data.samples import ImageFile, LabelledImage, LabelledImages
from internimage.drawing.canvas import BAD, INK
from internimage.drawing.charts import confusion_matrix, sheet
from internimage.errors import DataError, ImageReadError
from internimage.images import read_image
from internimage.inference.predictor import Predictor
from internimage.models.classifier import ImageClassifier
from internimage.results import Classification
from internimage.tasks.classification import Accuracy

Part = TypeVar("Part")
_WORST = 24


def read_part(root: Path, part: str) -> LabelledImages:
    """One part of a data set; "all" is ``root`` itself, or its only part."""
    return choose_part(read_parts(root), root, part)


def read_object_part(root: Path, part: str) -> ObjectImages:
    """The same of images with objects."""
    return choose_part(read_object_parts(root, part), root, part)


def read_region_part(root: Path, part: str) -> RegionImages:
    """The same of images with masks."""
    return choose_part(read_region_parts(root, part), root, part)


def choose_part(parts: Mapping[str, Part], root: Path, part: str) -> Part:
    """The named one of ``parts``; "all" is the only one there is."""
    if part != "all":
        if part not in parts:
            raise DataError(f"{root} has no part {part!r}; it has {', '.join(parts)}")
        return parts[part]
    if len(parts) > 1:
        raise DataError(f"{root} has the parts {', '.join(parts)}; choose one (--part)")
    return next(iter(parts.values()))


def match_classes(labels: tuple[str, ...] | None, count: int, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Names of a model's ``count`` outputs: its own, or those of the data if it has none and as many.

    Raises:
        DataError: the numbers differ, or the data has a class that the model does not know.
    """
    if labels is None and len(classes) == count:
        labels = classes
    if labels is None:
        raise DataError(f"the model has {count} classes without names, the data {len(classes)}; none can be matched")
    if unknown := [name for name in classes if name not in labels]:
        raise DataError(
            f"the model does not know the classes {', '.join(unknown[:5])}; it knows {', '.join(labels[:8])}"
        )
    return labels


def percent(share: float) -> str:
    """A share for a table; a dash where there was nothing to divide by."""
    return f"{share:.1%}" if share == share else "-"


def class_numbers(
    labels: tuple[str, ...] | None, count: int, classes: tuple[str, ...], absent: int
) -> np.ndarray[Any, Any]:
    """For each output of a model the number of its class in the data, ``absent`` where the data lacks it.

    See :func:`match_classes`.
    """
    names = match_classes(labels, count, classes)
    return np.array([classes.index(name) if name in classes else absent for name in names])


@dataclass
class ClassificationReport:
    """Accuracies, confusion and the most confident mistakes of a classifier.

    Attributes:
        labels: names of the classes.
        accuracy: running counts, see :class:`internimage.tasks.classification.Accuracy`.
        mistakes: (probability of the wrong class, file, truth, prediction), most confident first.
        unreadable: files left out.
    """

    labels: tuple[str, ...]
    accuracy: Accuracy
    mistakes: list[tuple[float, ImageFile, str, str]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def per_class(self) -> dict[str, dict[str, float]]:
        """Images, recall and precision of each class that has images or predictions."""
        matrix = self.accuracy.confusion
        rows = {}
        for index, label in enumerate(self.labels):
            images, predicted = int(matrix[index].sum()), int(matrix[:, index].sum())
            if images or predicted:
                hit = int(matrix[index, index])
                rows[label] = {
                    "images": images,
                    "recall": hit / images if images else float("nan"),
                    "precision": hit / predicted if predicted else float("nan"),
                }
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        per_class = {
            label: {key: None if value != value else value for key, value in row.items()}
            for label, row in self.per_class().items()
        }
        return {**self.accuracy.compute(), "per_class": per_class, "unreadable": self.unreadable}

    def table(self) -> str:
        """The numbers as text."""
        numbers = self.accuracy.compute()
        width = max((len(label) for label in self.per_class()), default=5)
        lines = [f"{'class':<{width}}  images  recall  precision"]
        lines += [
            f"{label:<{width}}  {row['images']:>6}  {percent(row['recall']):>6}  {percent(row['precision']):>9}"
            for label, row in self.per_class().items()
        ]
        lines.append(
            f"top-1 {numbers['top1']:.1%}  top-5 {numbers['top5']:.1%}  mean over classes {numbers['mean_class']:.1%}  "
            f"cross-entropy {numbers['cross_entropy']:.3f}  images {int(numbers['images'])}"
        )
        lines += [f"left out: {name}" for name in self.unreadable]
        return "\n".join(lines)

    def save(self, folder: Path) -> list[Path]:
        """Write metrics.json, confusion.png and worst.png; return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        numbers = self.accuracy.compute()
        metrics, confusion, worst = (folder / name for name in ("metrics.json", "confusion.png", "worst.png"))
        metrics.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        title = f"top-1 {numbers['top1']:.1%} of {int(numbers['images'])} images"
        confusion_matrix(self.accuracy.confusion, self.labels, title).save(confusion)
        if not self.mistakes:
            return [metrics, confusion]
        pictures = [
            (read_image(file), [(f"is {truth}", INK), (f"said {said} {score:.0%}", BAD)])
            for score, file, truth, said in self.mistakes
        ]
        sheet(pictures, title="Most confident mistakes").save(worst)
        return [metrics, confusion, worst]


def evaluate_classifier(
    predictor: Predictor,
    data: LabelledImages,
    *,
    skip_unreadable: bool = False,
    progress: Callable[[Iterable[LabelledImage]], Iterable[LabelledImage]] = iter,
) -> ClassificationReport:
    """Predict every image once and compare with its label.

    Classes are matched by name, or by number where the model has no names and the data has as many classes.  A model
    that reads time and place gets them where the data has them.

    Raises:
        DataError: the data has a class that the model does not know, or the model is no classifier.
        ImageReadError: a file cannot be read, unless ``skip_unreadable``.
    """
    if not isinstance(predictor.model, ImageClassifier):
        kind = type(predictor.model).__name__
        raise DataError(
            f"{data.name} has a class for each image, but a {kind} finds objects; it needs COCO annotations"
        )
    labels = match_classes(predictor.labels, predictor.model.config.num_classes, data.classes)
    number = {name: index for index, name in enumerate(labels)}
    report = ClassificationReport(labels, Accuracy(len(labels)))
    mistakes: list[tuple[float, ImageFile, str, str]] = []
    outcomes = predictor.stream([s.file for s in data.samples], [s.taken for s in data.samples])
    for (file, label, _), (_, outcome) in zip(progress(data.samples), outcomes, strict=True):
        if isinstance(outcome, ImageReadError):
            if not skip_unreadable:
                raise ImageReadError(f"{outcome} (--on-corrupt skip leaves such files out)")
            report.unreadable.append(str(file))
            continue
        assert isinstance(outcome, Classification)
        truth = data.classes[label]
        report.accuracy.add(outcome, number[truth])
        best = outcome.top(1)[0]
        if best.index != number[truth]:
            entry = (best.score, file, truth, labels[best.index])
            (heapq.heappush if len(mistakes) < _WORST else heapq.heappushpop)(mistakes, entry)
    if not report.accuracy.confusion.sum():
        raise DataError(f"{data.name}: none of {len(data)} images can be read")
    report.mistakes = sorted(mistakes, reverse=True)
    return report
