"""Tables of pictures and their labels."""

from __future__ import annotations

import csv
from pathlib import Path

from internimage.data.samples import LabelledImage, LabelledImages
from internimage.errors import DataError


def read_csv(path: Path) -> LabelledImages:
    """A table with the columns ``path`` and ``label``; paths are relative to the table's folder, labels are names."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"path", "label"} <= set(reader.fieldnames or ()):
                raise DataError(f"{path} has the columns {reader.fieldnames}; expected path and label")
            rows = [(row["path"], row["label"]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a readable CSV file: {error}") from error
    incomplete = next((number for number, row in enumerate(rows, 2) if not all(row)), None)
    if incomplete or not rows:
        raise DataError(f"{path} line {incomplete or 2} has no path or no label")
    classes = tuple(sorted({label for _, label in rows}))
    index = {name: number for number, name in enumerate(classes)}
    samples = tuple(LabelledImage(path.parent / p, index[label]) for p, label in rows)
    return LabelledImages(str(path), classes, samples, "CSV")
