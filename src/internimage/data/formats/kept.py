"""What takes long to read, kept as it was read: large annotation files, and the sizes of many pictures.

It is kept in ``~/.cache/internimage``, or where ``INTERNIMAGE_CACHE`` says; ``INTERNIMAGE_CACHE=0`` keeps nothing.  It
is used as long as the file and the folders of its pictures are as they were, by their times of modification.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from internimage.data.objects import ObjectTable
from internimage.data.objects.columns import Array, Paths
from internimage.data.objects.storing import can_store, load_table, store_table

LARGE = 2**26
"""Bytes of a file from which it is kept."""

MANY = 10_000
"""Pictures from which their sizes are kept."""

_LOOKED_AT = 64
_VERSION = 1  # of what is written
_MOST = 16  # things; the one that was used longest ago is forgotten first
_ABOUT = "about.json"


class KeptTable:
    """The place of one file's columns.

    Args:
        path: of the file.
        reading: everything else that what is read depends on.
    """

    def __init__(self, path: Path, *reading: Any) -> None:
        self._path = path
        self._folder: Path | None = None
        root = _root()
        try:
            state = path.stat()
        except OSError:
            return
        if root is not None and state.st_size >= LARGE:
            key = [_VERSION, str(path.resolve()), state.st_size, state.st_mtime_ns, *map(str, reading)]
            name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
            self._folder = root / name

    def load(self) -> tuple[ObjectTable, dict[str, Any]] | None:
        """The table and what was kept beside it; None if nothing is kept that is still true."""
        about = _about(self._folder)
        if self._folder is None or about is None:
            return None
        try:
            return load_table(self._folder, tuple(about["folders"])), about["beside"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, table: ObjectTable, beside: dict[str, Any]) -> None:
        """Keep a table, and what JSON can say beside it; where that cannot be written, nothing happens."""
        if self._folder is not None and can_store(table):
            assert isinstance(table.files, Paths)
            _write(self._folder, table.files.folders, beside, lambda folder: store_table(table, folder))


def kept_columns(
    files: Sequence[Path], reading: Sequence[Any], read: Callable[[], dict[str, np.ndarray[Any, Any]]]
) -> dict[str, np.ndarray[Any, Any]]:
    """Columns that are read from several files together; of large ones they are kept.

    Args:
        files: all that they are read from.
        reading: everything else that what is read depends on, such as a number of the reader's version.
        read: reads them; no column holds Python's objects.
    """
    root = _root()
    states = [path.stat() for path in files]
    if root is None or sum(state.st_size for state in states) < LARGE:
        return read()
    key = [_VERSION, *map(str, reading), *map(str, files), *((one.st_size, one.st_mtime_ns) for one in states)]
    folder = root / hashlib.sha256(json.dumps(key).encode(errors="surrogateescape")).hexdigest()[:32]
    if (about := _about(folder)) is not None:
        try:
            return {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in about["beside"]}
        except (OSError, ValueError, TypeError):
            pass
    columns = read()

    def store(new: Path) -> None:
        for name, column in columns.items():
            np.save(new / f"{name}.npy", column, allow_pickle=False)

    _write(folder, (), list(columns), store)
    return columns


def kept_sizes(files: Sequence[Path], measure: Callable[[Sequence[Path]], Array]) -> Array:
    """(height, width) of pictures by their headers, int32 (N, 2); of many they are kept.

    They are used as long as nothing was put into the pictures' folders or taken out, and none of some that are looked
    at was written since.

    Args:
        files: the pictures.
        measure: reads the sizes.
    """
    root = _root()
    if root is None or len(files) < MANY:
        return measure(files)
    digest = hashlib.sha256("\n".join(map(str, files)).encode(errors="surrogateescape")).hexdigest()
    folder = root / f"sizes-{digest[:32]}"
    some = [str(file) for file in files[:: -(-len(files) // _LOOKED_AT)]]
    about = _about(folder)
    if about is not None and about["beside"] == _times(some):
        try:
            found: Array = np.load(folder / "sizes.npy", allow_pickle=False)
            if found.shape == (len(files), 2):
                return found
        except (OSError, ValueError):
            pass
    sizes = measure(files)
    try:
        times = _times(some)
    except OSError:  # one is not there
        return sizes
    folders = sorted({os.path.dirname(file) for file in map(str, files)})  # noqa: PTH120
    _write(folder, folders, times, lambda new: np.save(new / "sizes.npy", sizes, allow_pickle=False))
    return sizes


def _about(folder: Path | None) -> dict[str, Any] | None:
    """What was written with something that is kept; None if it is no more true."""
    if folder is None:
        return None
    try:
        about: dict[str, Any] = json.loads((folder / _ABOUT).read_bytes())
        if about["times"] != _times(about["folders"]):
            return None
        os.utime(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return about


def _write(target: Path, folders: Sequence[str], beside: Any, store: Callable[[Path], Any]) -> None:
    """Keep what ``store`` writes into a folder, whole or not at all, and forget what is beyond the most."""
    root = target.parent
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix="new-") as new:
            store(Path(new))
            about = {"folders": list(folders), "times": _times(folders), "beside": beside}
            (Path(new) / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)
            Path(new).rename(target)
            Path(new).mkdir()  # for its context to remove
        kept = [path for path in root.iterdir() if (path / _ABOUT).is_file()]
        for old in sorted(kept, key=lambda path: path.stat().st_mtime)[:-_MOST]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError:
        return


def _root() -> Path | None:
    given = os.environ.get("INTERNIMAGE_CACHE")
    if given == "0":
        return None
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "internimage"
    return base.expanduser() / "annotations"


def _times(paths: Sequence[str]) -> list[int]:
    """When each file was written, or anything put into each folder or taken out."""
    return [os.stat(path).st_mtime_ns for path in paths]  # noqa: PTH116
