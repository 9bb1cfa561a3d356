"""What keeps an index: one protocol, behind which a database in a folder or a server stands."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, Protocol

from internimage.errors import ConfigError, DataError
from internimage.multimodal.search.entries import ALL, Array, Entry, Filter, Found, Stamp
from internimage.settings.plain import from_plain
from internimage.writing import counted

SCHEMA = 1
EXACT_BELOW = 100_000
"""Entries up to which every question is compared with every vector: that takes less than a second."""
LEAST_RECALL = 0.95
_NEAREST = 10


@dataclass(frozen=True)
class About:
    """How an index was made; all that is added to it is made the same way.

    Attributes:
        model: what :func:`internimage.multimodal.search.encoders.encoder.load_encoder` takes.
        weights: which weights it had, see :class:`internimage.multimodal.search.encoders.encoder.Encoder`.
        width: numbers of a vector.
        seconds: of videos, a frame is taken every so many.
        detector: whose boxes are entries; None for no boxes.
        min_score: of boxes.
        schema: version of this layout.
    """

    model: str
    weights: str
    width: int
    seconds: float = 1.0
    detector: str | None = None
    min_score: float = 0.3
    schema: int = SCHEMA

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str, place: str) -> About:
        """What :meth:`to_json` gave.

        Raises:
            DataError: another version of the package wrote it.
        """
        content = json.loads(text)
        if content.get("schema") != SCHEMA:
            raise DataError(
                f"{place} is an index of version {content.get('schema')}, this installation reads {SCHEMA}; upgrade "
                "internimage, or index the pictures again"
            )
        return from_plain(cls, content)


class Store(Protocol):
    """An index: entries with a vector each."""

    @property
    def place(self) -> str:
        """Where it is, as :func:`open_store` takes it."""

    @property
    def about(self) -> About: ...

    def put(self, entries: Sequence[Entry], vectors: Array, *, fresh: bool = False) -> None:
        """Add entries with vectors (N, D) float32 of length 1; all that was there of their files goes.

        So the entries of a file are put together: a reader, and whoever comes after a crash, sees all or none.
        ``fresh`` says that none of their files is there, which saves looking through the index for them.
        """

    def delete(self, meant: Filter) -> int:
        """Take entries out; how many."""

    def count(self, meant: Filter = ALL) -> int:
        """How many entries are meant."""

    def known(self) -> dict[str, Stamp]:
        """The stamp of every file, by path."""

    def nearest(self, vector: Array, count: int, meant: Filter = ALL, *, exact: bool = False) -> list[Found]:
        """The entries with the largest cosine to a vector (D,) of length 1, best first, equal ones by id.

        An approximate index answers, if it is on, questions about all entries, unless ``exact``.
        """

    def get(self, ids: Sequence[str]) -> list[Found]:
        """Entries by id, in order, with score 1; unknown ones are left out."""

    def some(self, count: int) -> Array:
        """Vectors (N, D) of up to so many entries, spread over the index."""

    def tidy(self) -> None:
        """Make one of many small files."""

    @property
    def approximate(self) -> bool:
        """Whether an approximate index is on."""

    def set_approximate(self, on: bool) -> None:
        """Build an approximate index and turn it on, or drop it."""

    def close(self) -> None:
        """Let go of files and connections."""


def is_remote(place: str) -> bool:
    """Whether an index is no folder here: at a server, or in object storage."""
    return place.startswith("qdrant:http") or ("://" in place and not place.startswith("qdrant:"))


def open_store(place: str) -> Store:
    """The index at a place.

    Args:
        place: a folder; ``s3://bucket/album``, ``gs://...`` or ``az://...``, for which LanceDB reads the environment's
            credentials; ``qdrant:http://host:6333/album``, a collection of a Qdrant server, or ``qdrant:FOLDER``.

    Raises:
        DataError: there is no index, or one of another version.
        MissingExtraError: LanceDB, or the client of Qdrant, is not installed.
    """
    store = find(place)
    if store is None:
        raise DataError(f"there is no index at {place}; `internimage search index PHOTOS --index {place}` makes one")
    return store


def find_or_create(place: str, about: About) -> Store:
    """The index at a place; where there is none, an empty one made as ``about`` says.

    Raises:
        ConfigError: it was made in another way.
        FileWriteError: it cannot be written.
    """
    store = find(place)
    if store is not None:
        check_same(store, about)
        return store
    if place.startswith("qdrant:"):
        from internimage.multimodal.search.qdrant import create_qdrant

        return create_qdrant(place, about)
    from internimage.multimodal.search.lance import create_lance

    return create_lance(place, about)


def check_same(store: Store, about: About) -> None:
    """Raise :class:`ConfigError` unless an index was made as ``about`` says."""
    had, wanted = asdict(store.about), asdict(about)
    for name, what in (
        ("model", "with the model {}"),
        ("weights", "with other weights of {model} ({})"),
        ("detector", "with the detector {}"),
        ("seconds", "with a frame every {} s"),
        ("min_score", "with boxes of score {} and more"),
    ):
        if had[name] != wanted[name]:
            none = f"without a {name}"
            ways = [none if way[name] is None else what.format(way[name], model=way["model"]) for way in (had, wanted)]
            raise ConfigError(
                f"{store.place} was made {ways[0]}, not {ways[1]}; leave the option out, or make another index "
                "(--index FOLDER)"
            )


class Recall(NamedTuple):
    """What an approximate index finds: the share of the ten nearest, of so many questions, and whether it is kept."""

    share: float
    questions: int
    kept: bool

    def __str__(self) -> str:
        kept = "it is on" if self.kept else f"less than {LEAST_RECALL}, so it was dropped and search stays exact"
        return (
            f"the approximate index finds {self.share:.3f} of the {_NEAREST} nearest "
            f"({counted(self.questions, 'question')}): {kept}"
        )


def try_approximate(store: Store, *, exact_below: int = EXACT_BELOW, questions: int = 200) -> Recall:
    """Build an approximate index; it is kept if it finds :data:`LEAST_RECALL` of what the exact search finds.

    Questions are stored vectors, each without itself.  Words lie farther from all pictures than pictures from each
    other, so for them it may find less.

    Raises:
        ConfigError: there are so few entries that exact search is fast.
    """
    if (count := store.count()) < exact_below:
        raise ConfigError(
            f"{store.place} has {counted(count, 'entry') if count == 1 else f'{count} entries'}; below {exact_below} "
            "exact search is fast and misses nothing: leave --approximate out"
        )
    vectors = store.some(questions)
    share = 0.0
    store.set_approximate(True)
    try:
        shares = []
        for vector in vectors:
            truth, found = (_ids(store.nearest(vector, _NEAREST + 1, exact=exact)) for exact in (True, False))
            shares.append(len(truth & found) / len(truth))
        share = sum(shares) / len(shares)
    finally:  # also when the measurement is interrupted
        if share < LEAST_RECALL:
            store.set_approximate(False)
    return Recall(share, len(vectors), share >= LEAST_RECALL)


def _ids(found: Iterable[Found]) -> set[str]:
    """Ids without the first, which is the question itself."""
    return {one.entry.id for one in list(found)[1:]}


def find(place: str) -> Store | None:
    """The index at a place, if there is one."""
    if place.startswith("qdrant:"):
        from internimage.multimodal.search.qdrant import find_qdrant

        return find_qdrant(place)
    from internimage.multimodal.search.lance import find_lance

    return find_lance(place)
