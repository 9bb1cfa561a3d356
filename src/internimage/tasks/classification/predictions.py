"""Labels of other classifiers, from a table, measured as our own are."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from internimage.data.samples import LabelledImages
from internimage.errors import DataError
from internimage.metrics.accuracy import Accuracy
from internimage.results.pairing import pair
from internimage.settings.views import ReportOptions, refuse_score_threshold
from internimage.tasks.classification.evaluation import ClassificationReport

_PATHS = ("path", "image", "file", "filename")
_FIVE = 5


def measure_table(data: LabelledImages, file: Path, options: ReportOptions) -> ClassificationReport:
    """The report on a table with the columns path (or image), label and, if there is one, score.

    An image may have several rows, the best first or each with a score, as ``predict --csv`` writes them; with five of
    each image, or one of each class, top-5 accuracy is measured too.  Cross-entropy is not.

    Raises:
        DataError: the table cannot be read, has no row for an image or several images, or an unknown class.
    """
    refuse_score_threshold(options)
    ranked = _read(file)
    said = {label for rows in ranked.values() for label, _ in rows}
    if not said & set(data.classes):
        raise DataError(f"{file}: none of its labels is a class of {data.name}; expected such as {data.classes[0]}")
    names = (*data.classes, *sorted(said - set(data.classes)))  # those that only the table has are mistakes
    number = {name: index for index, name in enumerate(names)}
    rows_of = pair([str(entry.file) for entry in data.entries], ranked, str(file))
    if missing := [str(entry.file) for entry in data.entries if str(entry.file) not in rows_of]:
        raise DataError(
            f"{file} has no row for {len(missing)} of {len(data)} images, such as {missing[0]}; expected one at least"
        )
    few = min(len(rows) for rows in ranked.values()) < min(_FIVE, len(data.classes))
    known = ("top1", "mean_class") if few else ("top1", "top5", "mean_class")
    report = ClassificationReport(names, tuple(range(len(data.classes))), Accuracy(len(names), known))
    for entry in data.entries:
        rows = ranked[rows_of[str(entry.file)]]
        report.add_ranked(entry.file, entry.label, np.array([number[label] for label, _ in rows]), rows[0][1])
    return report


def _read(file: Path) -> dict[str, list[tuple[str, float]]]:
    """(label, score) by path, best first; a score that is not there is 1."""
    rows: dict[str, list[tuple[str, float]]] = defaultdict(list)
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            column = next((name for name in _PATHS if name in (reader.fieldnames or ())), None)
            if column is None or "label" not in (reader.fieldnames or ()):
                raise DataError(f"{file} has the columns {reader.fieldnames}; expected path and label, and maybe score")
            for number, row in enumerate(reader, 2):
                try:
                    score = float(row.get("score") or 1.0)
                except ValueError:
                    score = math.nan
                if not math.isfinite(score):
                    raise DataError(f"{file} line {number}: score is {row['score']!r}; expected a finite number")
                rows[row[column]].append((row["label"], score))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is not a readable table: {error}") from error
    return {path: sorted(labels, key=lambda pair: -pair[1]) for path, labels in rows.items()}
