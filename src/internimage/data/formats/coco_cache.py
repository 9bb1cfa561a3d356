"""Large annotation files, kept as they were read: the second time they open at once.

What is kept is in ``~/.cache/internimage``, or where ``INTERNIMAGE_CACHE`` says; ``INTERNIMAGE_CACHE=0`` keeps nothing.
It is used as long as the file and the folders of its pictures are as they were, by their times of modification.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from internimage.data.objects import ObjectTable
from internimage.data.objects.storing import can_store, load_table, store_table

LARGE = 2**26
"""Bytes of a file from which it is kept."""

_VERSION = 1  # of what is written
_KEPT = 8  # files; the one that was used longest ago is forgotten first
_ABOUT = "about.json"


class CocoCache:
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
        if self._folder is None:
            return None
        try:
            about = json.loads((self._folder / _ABOUT).read_bytes())
            if about["times"] != _times(about["folders"]):
                return None
            table = load_table(self._folder, tuple(about["folders"]))
            os.utime(self._folder)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return table, about["beside"]

    def keep(self, table: ObjectTable, beside: dict[str, Any]) -> None:
        """Keep a table, and what JSON can say beside it; where that cannot be written, nothing happens."""
        if self._folder is None or not can_store(table):
            return
        root, target = self._folder.parent, self._folder
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root, prefix="new-") as new:
                folders = store_table(table, Path(new))
                about = {"file": str(self._path), "folders": folders, "times": _times(folders), "beside": beside}
                (Path(new) / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
                shutil.rmtree(target, ignore_errors=True)
                Path(new).rename(target)
                Path(new).mkdir()  # for its context to remove
            kept = [path for path in root.iterdir() if (path / _ABOUT).is_file()]
            for old in sorted(kept, key=lambda path: path.stat().st_mtime)[:-_KEPT]:
                shutil.rmtree(old, ignore_errors=True)
        except OSError:
            return


def _root() -> Path | None:
    given = os.environ.get("INTERNIMAGE_CACHE")
    if given == "0":
        return None
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "internimage"
    return base.expanduser() / "annotations"


def _times(folders: Sequence[str]) -> list[int]:
    """When anything was put into each folder or taken out."""
    return [os.stat(folder).st_mtime_ns for folder in folders]  # noqa: PTH116
