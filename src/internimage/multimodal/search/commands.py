"""What ``internimage search`` does, one function a command; the command line finds them through the registry."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from internimage.errors import ConfigError
from internimage.multimodal.search.entries import KINDS, Filter, clean_path
from internimage.multimodal.search.indexing import only_writer
from internimage.multimodal.search.store import Recall, open_store, try_approximate
from internimage.writing import counted


def approximate(place: str) -> Recall:
    """See :func:`internimage.multimodal.search.store.try_approximate`."""
    with contextlib.closing(open_store(place)) as store, only_writer(place):
        return try_approximate(store)


def show(place: str) -> dict[str, Any]:
    """How an index was made and what it holds, as plain data."""
    with contextlib.closing(open_store(place)) as store:
        kinds = {kind: store.count(Filter(kinds=(kind,))) for kind in KINDS}
        files = store.known()
        folders = Counter(path.rpartition("/")[0] or "/" for path in files)
        about = {"index": place, **asdict(store.about)}
        return {**about, "files": len(files), "entries": kinds, "approximate": store.approximate, "folders": folders}


def delete(place: str, paths: Sequence[str]) -> str:
    """Take the entries of files, or of all below folders, out of an index; the files stay.

    Raises:
        ConfigError: nothing of them is in the index.
    """
    with contextlib.closing(open_store(place)) as store, only_writer(place):
        meant = {
            path: (Filter(paths=(clean,)), Filter(folder=clean)) for path in paths for clean in (clean_path(path),)
        }
        if unknown := [path for path, filters in meant.items() if not any(map(store.count, filters))]:
            raise ConfigError(
                f"{place} has nothing of {unknown[0]}; `internimage search show {place}` lists its folders"
            )
        gone = sum(store.delete(one) for filters in meant.values() for one in filters)
        store.tidy()
        return f"{place}: {_entries(gone)} taken out, {_entries(store.count())} left; no file was touched"


def _entries(count: int) -> str:
    return counted(count, "entry") if count == 1 else f"{count} entries"
