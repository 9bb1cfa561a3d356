"""A table of objects as files of arrays, which are mapped into memory and not read before they are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from internimage.data.objects.annotations import Verified
from internimage.data.objects.columns import Array, Paths, Ragged
from internimage.data.objects.table import ObjectTable

_PLAIN = (  # in their order
    "identities",
    "sizes",
    "first",
    "boxes",
    "labels",
    "crowds",
    "numbers",
)


def can_store(table: ObjectTable) -> bool:
    """Whether every column is an array."""
    plain = isinstance(table.identities, np.ndarray) and isinstance(table.numbers, np.ndarray)
    return plain and isinstance(table.files, Paths)


def store_table(table: ObjectTable, folder: Path) -> tuple[str, ...]:
    """Write the columns into a folder; the folders of the images, which are to be given to :func:`load_table`."""
    assert isinstance(table.files, Paths)
    arrays: dict[str, Any] = {name: getattr(table, name) for name in _PLAIN}
    arrays["folder"] = table.files.folder
    arrays |= _ragged("names", table.files.names)
    if table.shapes is not None:
        arrays |= _ragged("shapes", table.shapes)
    for kind, classes in zip(Verified._fields, table.verified or (), strict=False):
        arrays |= _ragged(kind, classes)
    for name, column in arrays.items():
        np.save(folder / f"{name}.npy", column, allow_pickle=False)
    return table.files.folders


def load_table(folder: Path, folders: tuple[str, ...]) -> ObjectTable:
    """What :func:`store_table` wrote.

    Raises:
        OSError, ValueError: it is not there, or is damaged.
    """

    def column(name: str) -> Array:
        found: Array = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return found

    def ragged(name: str) -> Ragged:
        return Ragged(column(f"{name}_values"), column(f"{name}_first"))

    files = Paths(folders, column("folder"), ragged("names"))
    shapes = ragged("shapes") if (folder / "shapes_first.npy").is_file() else None
    identities, sizes, first, boxes, labels, crowds, numbers = map(column, _PLAIN)
    verified = None
    if all((folder / f"{kind}_first.npy").is_file() for kind in Verified._fields):
        present, absent, partly = map(ragged, Verified._fields)
        verified = present, absent, partly
    return ObjectTable(files, identities, sizes, first, boxes, labels, crowds, numbers, shapes, verified)


def _ragged(name: str, column: Ragged) -> dict[str, Array]:
    return {f"{name}_values": column.values, f"{name}_first": column.first}
