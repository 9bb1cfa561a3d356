"""An index in Qdrant: a collection of a server that the user names, or a folder for trying it out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from internimage.errors import ConfigError, DataError, FileWriteError, MissingExtraError
from internimage.multimodal.search.entries import ALL, KINDS, Array, Entry, Filter, Found, Stamp, ancestors
from internimage.multimodal.search.store import About, is_remote

_PREFIX = "qdrant:"
_ABOUT = 0  # number of the point that says what the index is; no entry has it
_PAGE = 1000
_FOLDER_COLLECTION = "album"


def find_qdrant(place: str) -> QdrantStore | None:
    """The index at a place; None where there is none.

    Raises:
        DataError: the server does not answer, or the collection is another program's.
    """
    client, name = _connect(place)
    with _reading(place):
        if not client.collection_exists(name):
            client.close()
            return None
        points = client.retrieve(name, [_ABOUT])
    about = points[0].payload.get("about") if points else None
    if about is None:
        raise DataError(f"{place} is a collection of another program; expected an index of internimage")
    return QdrantStore(place, client, name, About.of_json(about, place))


def create_qdrant(place: str, about: About) -> QdrantStore:
    """An empty index.

    Raises:
        FileWriteError: the server does not take it.
    """
    from qdrant_client import models

    client, name = _connect(place)
    with _writing(place):
        size = models.VectorParams(size=about.width, distance=models.Distance.COSINE)
        client.create_collection(name, vectors_config=size)
        nowhere = [1.0, *[0.0] * (about.width - 1)]
        payload = {"about": about.to_json(), "approximate": False}
        client.upsert(name, [models.PointStruct(id=_ABOUT, vector=nowhere, payload=payload)], wait=True)
    return QdrantStore(place, client, name, about)


class QdrantStore:
    """See :class:`internimage.multimodal.search.store.Store`; a put is two changes, the new entries come first."""

    def __init__(self, place: str, client: Any, name: str, about: About) -> None:
        self.place, self.about = place, about
        self._client, self._name = client, name
        self._local = not is_remote(place)  # where every search is exact

    def put(self, entries: Sequence[Entry], vectors: Array, *, fresh: bool = False) -> None:
        from qdrant_client import models

        if not entries:
            return
        points = [
            models.PointStruct(
                id=_number(entry.id),
                vector=vector.tolist(),
                payload=entry.row() | {"folders": ancestors(entry.folder)},
            )
            for entry, vector in zip(entries, np.asarray(vectors, np.float32), strict=True)
        ]
        files = _conditions(Filter(paths=tuple({one.path for one in entries})))
        old = models.Filter(must=files, must_not=[models.HasIdCondition(has_id=[point.id for point in points])])
        with _writing(self.place):
            self._client.upsert(self._name, points, wait=True)
            if not fresh:
                self._client.delete(self._name, models.FilterSelector(filter=old), wait=True)

    def delete(self, meant: Filter) -> int:
        from qdrant_client import models

        count = self.count(meant)
        with _writing(self.place):
            gone = models.FilterSelector(filter=models.Filter(must=_conditions(meant)))
            self._client.delete(self._name, gone, wait=True)
        return count

    def count(self, meant: Filter = ALL) -> int:
        from qdrant_client import models

        with _reading(self.place):
            return int(self._client.count(self._name, models.Filter(must=_conditions(meant)), exact=True).count)

    def known(self) -> dict[str, Stamp]:
        points = self._scroll(["path", "bytes", "modified"], vectors=False)
        return {one.payload["path"]: Stamp(one.payload["bytes"], one.payload["modified"]) for one in points}

    def nearest(self, vector: Array, count: int, meant: Filter = ALL, *, exact: bool = False) -> list[Found]:
        from qdrant_client import models

        exact = exact or meant != ALL or not self.approximate
        with _reading(self.place):
            points = self._client.query_points(
                self._name,
                query=np.asarray(vector, np.float32).tolist(),
                query_filter=models.Filter(must=_conditions(meant)),
                search_params=None if self._local else models.SearchParams(exact=exact),
                limit=count,
                with_vectors=True,
            ).points
        found = [Found(entry, own, float(own @ vector)) for entry, own in map(_entry, points)]
        return sorted(found, key=lambda one: (-one.score, one.entry.id))

    def get(self, ids: Sequence[str]) -> list[Found]:
        numbers = [number for one in ids if (number := _number(one)) != _ABOUT]
        with _reading(self.place):
            points = self._client.retrieve(self._name, numbers, with_payload=True, with_vectors=True)
        found = {entry.id: Found(entry, vector, 1.0) for entry, vector in map(_entry, points)}
        return [found[one] for one in ids if one in found]

    def some(self, count: int) -> Array:
        vectors = []
        for _, point in zip(range(count), self._scroll(False, vectors=True), strict=False):
            vectors.append(np.array(point.vector, np.float32))
        return np.stack(vectors)

    def tidy(self) -> None:
        """The server does it by itself."""

    @property
    def approximate(self) -> bool:
        with _reading(self.place):
            return bool(self._client.retrieve(self._name, [_ABOUT])[0].payload["approximate"])

    def set_approximate(self, on: bool) -> None:
        with _writing(self.place):  # the server builds its graph by itself; this says whether it is asked
            self._client.set_payload(self._name, {"approximate": on}, points=[_ABOUT], wait=True)

    def close(self) -> None:
        self._client.close()

    def _scroll(self, payload: Any, *, vectors: bool) -> Iterator[Any]:
        """All entries, by their numbers, which are hashes: the first of them are a random choice."""
        from qdrant_client import models

        offset = None
        while True:
            with _reading(self.place):
                points, offset = self._client.scroll(
                    self._name,
                    models.Filter(must=_conditions(ALL)),
                    limit=_PAGE,
                    offset=offset,
                    with_payload=payload,
                    with_vectors=vectors,
                )
            yield from points
            if offset is None:
                return


def _connect(place: str) -> tuple[Any, str]:
    """A client, and the name of the collection."""
    try:
        from qdrant_client import QdrantClient
    except ImportError as error:
        raise MissingExtraError(f"{place} needs the client of Qdrant: pip install qdrant-client") from error
    target = place.removeprefix(_PREFIX)
    if not target.startswith(("http://", "https://")):
        with _reading(place):
            return QdrantClient(path=target), _FOLDER_COLLECTION
    url, _, name = target.rpartition("/")
    if url.endswith(":/") or not name:
        raise ConfigError(f"{place} names no collection; expected qdrant:http://HOST:6333/COLLECTION")
    with _reading(place):
        return QdrantClient(url=url, timeout=60, check_compatibility=False), name


def _conditions(meant: Filter) -> list[Any]:
    """Conditions on payloads that must all hold."""
    from qdrant_client import models

    def among(key: str, values: Sequence[str]) -> Any:
        return models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))

    parts = [among("kind", meant.kinds or KINDS)]
    if meant.since is not None or meant.until is not None:
        parts.append(models.FieldCondition(key="taken", range=models.Range(gte=meant.since, lt=meant.until)))
    if meant.folder is not None:
        parts.append(among("folders", [meant.folder]))
    if meant.min_score is not None:
        parts.append(models.FieldCondition(key="score", range=models.Range(gte=meant.min_score)))
    lists = (("label", meant.classes), ("path", meant.paths))
    return parts + [among(key, values) for key, values in lists if values]


def _number(identifier: str) -> int:
    try:
        return int(identifier, 16)
    except ValueError:
        return _ABOUT


def _entry(point: Any) -> tuple[Entry, Array]:
    return Entry.of_row(point.payload), np.array(point.vector, np.float32)


@contextlib.contextmanager
def _reading(place: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of clients, sockets, HTTP, folders that another process holds: any type
        raise DataError(f"the index {place} cannot be read: {_reason(error)}") from error


@contextlib.contextmanager
def _writing(place: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise FileWriteError(f"cannot write {place}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
