"""Columns of a table that are no numbers: texts, paths, identities, and lists of different lengths.

A million Python objects fill a gigabyte, and each process that reads a set gets its own copy of them, because counting
references writes to them.  These columns are a few arrays, however many rows they have.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np

from internimage.data.samples import ImageFile

Array: TypeAlias = "np.ndarray[Any, Any]"


@dataclass(frozen=True, eq=False)
class Ragged:
    """Bytes of each row.

    Attributes:
        values: those of all rows, uint8.
        first: where each row begins, and the end, int64.
    """

    values: Array
    first: Array

    @classmethod
    def of(cls, rows: Iterable[bytes]) -> Ragged:
        listed = list(rows)
        return cls(np.frombuffer(b"".join(listed), np.uint8), starts([len(row) for row in listed]))

    def __len__(self) -> int:
        return len(self.first) - 1

    def __getitem__(self, row: int) -> bytes:
        content: bytes = self.values[self.first[row] : self.first[row + 1]].tobytes()
        return content

    def take(self, rows: Array) -> Ragged:
        if len(rows) > len(self) / 2 and (np.diff(rows) > 0).all():  # most of them, in order
            kept = np.zeros(len(self), bool)
            kept[rows] = True
            return Ragged(self.values[np.repeat(kept, self.lengths)], starts(self.lengths[rows]))
        return Ragged.of(self[row] for row in rows.tolist())

    def find(self, content: bytes) -> list[int]:
        """Rows that are this, found by a search in all of them together."""
        text, found = self.values.tobytes(), []
        place = text.find(content)
        while place >= 0:
            row = int(np.searchsorted(self.first, place, "right")) - 1
            found += [row] if self[row] == content else []
            place = text.find(content, place + 1)
        return found

    @property
    def lengths(self) -> Array:
        return np.diff(self.first)


@dataclass(frozen=True, eq=False)
class Paths(Sequence[Path]):
    """Paths of files, most of which lie in few folders.

    Attributes:
        folders: the folders.
        folder: the number of each file's, int32.
        names: of the files.
    """

    folders: tuple[str, ...]
    folder: Array
    names: Ragged

    @classmethod
    def of(cls, paths: Iterable[str]) -> Paths:
        numbers: dict[str, int] = {}
        folder, names = [], []
        for path in paths:
            head, name = os.path.split(path)
            folder.append(numbers.setdefault(head, len(numbers)))
            names.append(os.fsencode(name))
        return cls(tuple(numbers), np.array(folder, np.int32), Ragged.of(names))

    def __len__(self) -> int:
        return len(self.folder)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Paths: ...
    def __getitem__(self, index: int | slice) -> Path | Paths:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return Path(self.folders[self.folder[index]], self.name(range(len(self))[index]))

    def name(self, row: int) -> str:
        return os.fsdecode(self.names[row])

    def take(self, rows: Array) -> Paths:
        return Paths(self.folders, self.folder[rows], self.names.take(rows))


Files: TypeAlias = "Paths | tuple[ImageFile, ...]"
Identities: TypeAlias = "Array | tuple[int | str, ...]"


def files_of(files: Sequence[ImageFile]) -> Files:
    """Paths as a column; members of archives as they are."""
    if all(isinstance(file, Path) for file in files):
        return Paths.of(map(str, files))
    return tuple(files)


def identities_of(values: Sequence[int | str]) -> Identities:
    """Whole numbers as a column, int64; texts and larger numbers as they are."""
    if all(type(value) is int and -(2**63) <= value < 2**63 for value in values):
        return np.array(values, np.int64)
    return tuple(values)


def taken(column: Any, rows: Array) -> Any:
    """Some rows of a column."""
    if column is None:
        return None
    if isinstance(column, np.ndarray):
        return column[rows]
    return tuple(column[row] for row in rows.tolist()) if isinstance(column, tuple) else column.take(rows)


def starts(lengths: Sequence[int] | Array) -> Array:
    """Where each of the rows of these lengths begins, and the end: int64."""
    first = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=first[1:])
    return first


def rows_of(first: Array, groups: Array) -> Array:
    """Rows of some groups, one group after the other, where each group's rows follow each other from ``first`` on."""
    lengths = first[groups + 1] - first[groups]
    return np.repeat(first[groups] - starts(lengths)[:-1], lengths) + np.arange(lengths.sum())
