"""An index in LanceDB: a folder, or object storage; every change is one transaction."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from internimage.errors import DataError, FileWriteError, MissingExtraError
from internimage.multimodal.search.entries import ALL, Array, Entry, Filter, Found, Stamp
from internimage.multimodal.search.store import About

_TABLE = "entries"
_ABOUT = b"internimage"
_INDEX = "nearest"
_PROBED_SHARE = 0.2  # of the parts of the approximate index; of features of photos that found .986, half of it .943
_ROWS_A_PART = 300
_KEPT = timedelta(hours=1)  # who began to read before then reads on


def find_lance(place: str) -> LanceStore | None:
    """The index at a place; None where there is none.

    Raises:
        DataError: it cannot be read.
    """
    if "://" not in place and not Path(place, f"{_TABLE}.lance").is_dir():
        return None  # connecting would make the folder
    with _reading(place):
        database = _library().connect(place)
        if _TABLE not in database.list_tables().tables:
            return None
        table = database.open_table(_TABLE)
        metadata = table.schema.metadata or {}
    if _ABOUT not in metadata:
        raise DataError(f"{place} holds a table of another program; expected an index of internimage")
    return LanceStore(place, table, About.of_json(metadata[_ABOUT].decode(), place))


def create_lance(place: str, about: About) -> LanceStore:
    """An empty index.

    Raises:
        FileWriteError: it cannot be written.
    """
    with _writing(place):
        schema = _schema(about.width).with_metadata({_ABOUT: about.to_json().encode()})
        return LanceStore(place, _library().connect(place).create_table(_TABLE, schema=schema), about)


class LanceStore:
    """See :class:`internimage.multimodal.search.store.Store`."""

    def __init__(self, place: str, table: Any, about: About) -> None:
        self.place, self.about = place, about
        self._table = table

    def put(self, entries: Sequence[Entry], vectors: Array, *, fresh: bool = False) -> None:
        if not entries:
            return
        import pyarrow as pa

        schema = _schema(self.about.width)
        flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
        columns = {name: [row[name] for row in map(Entry.row, entries)] for name in schema.names if name != "vector"}
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, self.about.width)
        rows = pa.table(columns, schema=schema)
        with _writing(self.place):
            if fresh:
                self._table.add(rows)
                return
            old = _condition(Filter(paths=tuple({one.path for one in entries}))).to_sql()
            change = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            change.when_not_matched_by_source_delete(old).execute(rows)

    def delete(self, meant: Filter) -> int:
        condition = _condition(meant)
        with _writing(self.place):
            before = self._table.count_rows()
            self._table.delete("true" if condition is None else condition.to_sql())
            return before - self._table.count_rows()

    def count(self, meant: Filter = ALL) -> int:
        condition = _condition(meant)
        with _reading(self.place):
            return int(self._table.count_rows(None if condition is None else condition.to_sql()))

    def known(self) -> dict[str, Stamp]:
        with _reading(self.place):
            rows = self._table.search().select(["path", "bytes", "modified"]).to_arrow()
        columns = (rows[name].to_pylist() for name in ("path", "bytes", "modified"))
        return {path: Stamp(size, modified) for path, size, modified in zip(*columns, strict=True)}

    def nearest(self, vector: Array, count: int, meant: Filter = ALL, *, exact: bool = False) -> list[Found]:
        condition = _condition(meant)
        with _reading(self.place):
            query = self._table.search(np.asarray(vector, np.float32), vector_column_name="vector")
            query = query.distance_type("cosine").limit(count)
            if condition is not None:
                query = query.where(condition, prefilter=True)
            if condition is not None or exact:  # of few that are meant, an approximate index may find none
                query = query.bypass_vector_index()
            elif self.approximate:
                query = query.nprobes(max(1, round(self._parts() * _PROBED_SHARE)))
            rows = query.to_arrow()
        found = [Found(entry, own, float(own @ vector)) for entry, own in _entries(rows)]
        return sorted(found, key=lambda one: (-one.score, one.entry.id))

    def get(self, ids: Sequence[str]) -> list[Found]:
        from lancedb.expr import col

        with _reading(self.place):
            rows = self._table.search().where(col("id").isin(list(ids))).to_arrow()
        found = {entry.id: Found(entry, vector, 1.0) for entry, vector in _entries(rows)}
        return [found[one] for one in ids if one in found]

    def some(self, count: int) -> Array:
        total = self.count()
        places = [place * total // count for place in range(count)] if total > count else list(range(total))
        with _reading(self.place):
            return _vectors(self._table.take_offsets(places).select(["vector"]).to_arrow())

    def tidy(self) -> None:
        with _writing(self.place):
            self._table.optimize(cleanup_older_than=_KEPT)

    @property
    def approximate(self) -> bool:
        return any(one.name == _INDEX for one in self._table.list_indices())

    def set_approximate(self, on: bool) -> None:
        from lancedb.index import IvfFlat

        with _writing(self.place):
            if on:  # whole vectors in parts, so that what is found has its exact cosine
                config = IvfFlat(distance_type="cosine", num_partitions=self._parts())
                self._table.create_index("vector", config=config, name=_INDEX)
            elif self.approximate:
                self._table.drop_index(_INDEX)

    def close(self) -> None:
        """Nothing is held open."""

    def _parts(self) -> int:
        return max(1, self.count() // _ROWS_A_PART)


def _library() -> Any:
    os.environ.setdefault("LANCE_LOG", "error")  # building an index warns a hundred thousand times of nothing
    try:
        import lancedb
    except ImportError as error:
        raise MissingExtraError("search needs LanceDB: pip install 'internimage[multimodal]'") from error
    return lancedb


def _schema(width: int) -> Any:
    """The columns: those of :meth:`Entry.row`, and the vector."""
    import pyarrow as pa

    texts = dict.fromkeys(("id", "path", "folder", "kind", "content", "label"), pa.string())
    whole = dict.fromkeys(("bytes", "modified", "width", "height"), pa.int64())
    real = dict.fromkeys(("taken", "second", "score"), pa.float64())
    lists = {"box": pa.list_(pa.float64()), "vector": pa.list_(pa.float32(), width)}
    return pa.schema({**texts, **whole, **real, **lists})


def _condition(meant: Filter) -> Any:
    """An expression of LanceDB, in which every value is a literal; None for all entries."""
    from lancedb.expr import col, lit

    parts = []
    if meant.since is not None:
        parts.append(col("taken") >= lit(meant.since))
    if meant.until is not None:
        parts.append(col("taken") < lit(meant.until))
    if meant.folder is not None:
        below = meant.folder.rstrip("/") + "/"
        after = below[:-1] + chr(ord("/") + 1)
        inside = (col("folder") >= lit(below)) & (col("folder") < lit(after))
        parts.append((col("folder") == lit(meant.folder)) | inside)
    for column, values in (("label", meant.classes), ("kind", meant.kinds), ("path", meant.paths)):
        if values:
            parts.append(col(column).isin(list(values)))
    if meant.min_score is not None:
        parts.append(col("score") >= lit(meant.min_score))
    whole = None
    for part in parts:
        whole = part if whole is None else whole & part
    return whole


def _vectors(rows: Any) -> Array:
    flat = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors: Array = flat.reshape(len(rows), -1) if len(rows) else flat.reshape(0, 0)
    return vectors


def _entries(rows: Any) -> Iterator[tuple[Entry, Array]]:
    plain = rows.drop_columns(["vector"]).to_pylist()
    return zip(map(Entry.of_row, plain), _vectors(rows), strict=True)


@contextlib.contextmanager
def _reading(place: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:  # what LanceDB raises of a damaged or unreachable table
        raise DataError(f"the index {place} cannot be read: {str(error).splitlines()[0]}") from error


@contextlib.contextmanager
def _writing(place: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise FileWriteError(
            f"cannot write {place}: {str(error).splitlines()[0]}; what was there before is intact"
        ) from error
