"""Tables of pictures and their labels: CSV, tabs or semicolons, a column of labels or one for each class."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from internimage.data.formats.documents import read_text
from internimage.data.formats.pictures import PictureFinder
from internimage.data.samples import LabelledImage, LabelledImages
from internimage.errors import DataError

PICTURES = (
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "image_id",
    "img",
    "id",
)
LABELS = ("label", "class", "category", "target", "species", "breed", "class_name", "label_name")
_SEPARATORS = ",\t;|"


def read_csv(path: Path) -> LabelledImages:
    """A table with a column of pictures and one of labels, or one of 0 and 1 for each class.

    Columns are known by their names, ``PICTURES`` and ``LABELS``, in any case; the first of them that is there counts.
    Names of pictures are relative to the table's folder, or are found below it, with a suffix or without; labels are
    names.

    Raises:
        DataError: it has no such columns, a row says nothing, or several classes of one picture.
    """
    rows, columns = _rows(path)
    picture, label = _column(columns, PICTURES), _column(columns, LABELS)
    marks = [column for column in columns if column != picture] if label is None else []
    if picture is None or (label is None and not _are_marks(rows, marks)):
        raise DataError(
            f"{path} has the columns {columns}; expected path and label (or {', '.join(PICTURES[1:7])} ... and "
            f"{', '.join(LABELS[1:5])}), or a column of 0 and 1 for each class"
        )
    named = [
        (row[picture], row[label] if label else _marked(path, line, row, marks)) for line, row in enumerate(rows, 2)
    ]
    incomplete = next((line for line, row in enumerate(named, 2) if not all(row)), None)
    if incomplete or not named:
        raise DataError(f"{path} line {incomplete or 2} has no {picture} or no {label or 'class'}")
    classes = tuple(sorted({name for _, name in named}))
    number = {name: index for index, name in enumerate(classes)}
    finder = PictureFinder([path.parent], path.parent)
    samples = tuple(LabelledImage(_file(path, name, finder), number[name_of]) for name, name_of in named)
    said = f"pictures by the column {picture}, labels by the column {label or 'that is 1'}"
    notes = () if (picture, label) == ("path", "label") else (said,)
    return LabelledImages(str(path), classes, samples, "CSV", notes=(*notes, *finder.notes()))


def has_labels(path: Path) -> bool:
    """Whether a table has labels: those of competitions' test images have none."""
    rows, columns = _rows(path)
    return _column(columns, LABELS) is not None or _are_marks(rows, columns[1:])


def _column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    plain = {column.strip().lower(): column for column in reversed(columns)}
    return next((plain[name] for name in names if name in plain), None)


def _file(path: Path, name: str, finder: PictureFinder) -> Path:
    """A picture as it is named; else wherever it is found below the table's folder."""
    direct = path.parent / name
    if (Path(name).is_absolute() or ".." in Path(name).parts) and direct.is_file():
        return direct
    return finder.find(name) or direct


def _rows(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Rows as texts by column; the separator is what the first line has most of."""
    text = read_text(path)
    first = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=lambda one: (first.count(one), one == ","))
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
        rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    except csv.Error as error:
        raise DataError(f"{path} is not a readable CSV file: {error}") from error
    return rows, list(reader.fieldnames or ())


def _are_marks(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> bool:
    """Whether two or more columns hold nothing but 0 and 1."""
    return len(columns) > 1 and bool(rows) and all(_mark(row[one]) is not None for row in rows for one in columns)


def _mark(text: str) -> bool | None:
    return {"0": False, "0.0": False, "1": True, "1.0": True}.get(text)


def _marked(path: Path, line: int, row: Mapping[str, str], columns: Sequence[str]) -> str:
    """The class whose column is 1."""
    chosen = [one.strip() for one in columns if _mark(row[one])]
    if len(chosen) != 1:
        raise DataError(
            f"{path} line {line} has {len(chosen)} classes{': ' if chosen else ''}{', '.join(chosen)}; expected one a "
            "picture: labels of several classes (multi-label) are not learnt"
        )
    return chosen[0]
