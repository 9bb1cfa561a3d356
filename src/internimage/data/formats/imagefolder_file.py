"""Rows of metadata as Hugging Face's ``imagefolder`` has them beside the pictures.

Format: https://huggingface.co/docs/datasets/image_dataset.  ``metadata.jsonl``, ``metadata.csv`` or
``metadata.parquet`` lies in the folder of the pictures, or above them, with a column ``file_name``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from internimage.data.formats.documents import read_text
from internimage.data.formats.parts import part_folders, part_named
from internimage.data.formats.pictures import is_output
from internimage.errors import DataError, MissingExtraError

_NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
LABELS = ("label", "class", "category")


class Row(NamedTuple):
    """One picture's columns, its part, and its place for messages."""

    part: str
    columns: dict[str, Any]
    where: str


def metadata_files(root: Path) -> list[tuple[Path, str]]:
    """Files of metadata and the part that their folder is called after; those above parts are of all pictures."""
    if root.is_file():
        return [(root, "all")] if root.name.lower() in _NAMES else []
    if not root.is_dir() or is_output(root):
        return []
    folders: list[tuple[Path, str]] = []
    for top in (root, root / "data"):
        if top.is_dir():
            folders += [(path, part) for part, path in part_folders(top).items()]
            folders.append((top, "all"))
    return [(folder / name, part) for folder, part in folders for name in _NAMES if (folder / name).is_file()]


def has_objects(root: Path) -> bool | None:
    """Whether metadata have objects; False for labels alone, None where there are no such metadata.

    Parquet is not looked into where pyarrow is missing: then it is taken for objects, and reading says what is needed.
    """
    files = metadata_files(root)
    if not files:
        return None
    try:
        columns = next(iter(read_rows(files[0][0], files[0][1])), None)
    except MissingExtraError:
        return True
    except DataError:
        return None
    if columns is None or "file_name" not in columns.columns:
        return None
    if isinstance(columns.columns.get("objects"), dict | list):
        return True
    return False if any(name in columns.columns for name in LABELS) else None


def read_rows(file: Path, part: str) -> Iterator[Row]:
    """Rows of a file, which lies in a folder of a part or, above those, is of "all".

    Raises:
        DataError: it is not readable.
        MissingExtraError: it is parquet, and pyarrow is not installed.
    """
    rows = {".jsonl": _json_lines, ".csv": _csv_rows, ".parquet": _parquet_rows}[file.suffix.lower()]
    for where, columns in rows(file):
        first = str(columns.get("file_name")).replace("\\", "/").partition("/")[0]
        named = part_named(first) if part == "all" else None  # metadata above the folders of the parts
        yield Row(named or part, columns, where)


def _json_lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for line, text in enumerate(read_text(file).splitlines(), 1):
        if text.strip():
            try:
                content = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{file} line {line} is not readable JSON: {error}") from error
            yield f"{file} line {line}", content if isinstance(content, dict) else {}


def _csv_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Columns of texts; one that is JSON, such as objects, is read as that."""
    try:
        for line, row in enumerate(csv.DictReader(io.StringIO(read_text(file), newline="")), 2):
            columns: dict[str, Any] = dict(row)
            if str(columns.get("objects") or "").startswith(("{", "[")):
                try:
                    columns["objects"] = json.loads(columns["objects"])
                except ValueError as error:
                    raise DataError(f"{file} line {line}: objects is not readable JSON: {error}") from error
            yield f"{file} line {line}", columns
    except csv.Error as error:
        raise DataError(f"{file} is not a readable CSV file: {error}") from error


def _parquet_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        from pyarrow import ArrowException  # type: ignore[import-not-found]
        from pyarrow.parquet import read_table  # type: ignore[import-not-found]
    except ImportError as error:
        raise MissingExtraError(f"{file} needs pyarrow: pip install 'internimage[formats]'") from error
    try:
        rows = read_table(file).to_pylist()
    except (ArrowException, OSError) as error:
        raise DataError(f"{file} is not readable parquet: {error}") from error
    for index, row in enumerate(rows):
        yield f"{file} row {index}", row
