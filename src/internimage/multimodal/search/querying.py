"""Questions in words, pictures and entries; what answers them, near duplicates together."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from internimage.errors import ConfigError, DataError
from internimage.images import IMAGE_SUFFIXES, ImageSource
from internimage.images.reader import is_url
from internimage.multimodal.backends.describing import check_question
from internimage.multimodal.search.encoders.encoder import Encoder, load_encoder
from internimage.multimodal.search.entries import ALL, Array, Entry, Filter, Found
from internimage.multimodal.search.store import Store, open_store

SAME = 0.99
"""Cosine from which two hits count as the same picture.

Of 659 photos and ``internimage_atto_clothing_128``, 99 of 100 copies at half the size and JPEG quality 50 have a cosine
of .990 and more with their original, and 1 photo of 100 has another one as near; other models, other numbers.
"""
_AT_ONCE = 64
_NOTHING = 1e-6  # length


@dataclass(frozen=True)
class Hit:
    """An answer.

    Attributes:
        entry: the best of those that are the same.
        score: its cosine with the question.
        others: near duplicates of it, copies of its file, other frames of its video, best first.
    """

    entry: Entry
    score: float
    others: tuple[Entry, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        entry = self.entry
        taken = datetime.fromtimestamp(entry.taken, UTC).replace(tzinfo=None).isoformat(timespec="seconds")
        return {
            **{"id": entry.id, "similarity": self.score, "kind": entry.kind, "path": entry.path, "taken": taken},
            **{"width": entry.width, "height": entry.height, "second": entry.second, "box": entry.box},
            **{"label": entry.label, "score": entry.score},
            "others": [{"id": one.id, "path": one.path, "second": one.second} for one in self.others],
        }

    def __str__(self) -> str:
        """``0.812  photos/a.jpg  dog 0.93 at 10,20,110,220  and 2 more``."""
        parts = [f"{self.score:.3f}", self.entry.path, *describe(self.entry)]
        return "  ".join([*parts, f"and {len(self.others)} more"] if self.others else parts)


def describe(entry: Entry) -> list[str]:
    """Where in its file an entry is: time and box; nothing for a whole picture."""
    parts = []
    if entry.second is not None:
        minutes, seconds = divmod(entry.second, 60)
        parts.append(f"at {int(minutes)}:{seconds:04.1f}")
    if entry.box is not None:
        parts.append(f"{entry.label} {entry.score:.2f} in {','.join(f'{value:.0f}' for value in entry.box)}")
    return parts


def query_album(
    place: str,
    asked: Sequence[str] = (),
    *,
    without: Sequence[str] = (),
    entries: Sequence[str] = (),
    count: int = 10,
    meant: Filter = ALL,
    same: float = SAME,
    device: str = "auto",
) -> list[Hit]:
    """The best answers of an index to a question.

    Args:
        place: see :func:`internimage.multimodal.search.store.open_store`.
        asked: words, and pictures by path or address; of several the mean is the question.
        without: words and pictures that are taken away from it.
        entries: ids of entries to ask with, such as a box; they are no answers themselves.
        count: answers.
        meant: which entries may answer.
        same: see :func:`grouped`.
        device: auto, cpu, cuda ...

    Raises:
        ConfigError: nothing is asked, the model knows no words, or its weights are others by now.
        DataError: there is no index, or no such entry.
        ImageReadError: a picture cannot be read.
    """
    if not asked and not entries:
        raise ConfigError("nothing is asked; expected words, a picture or --entry ID")
    if count < 1:
        raise ConfigError(f"count is {count}; expected 1 or more")
    with contextlib.closing(open_store(place)) as store:
        vectors = [one.vector for one in _entries(store, entries)]
        encoder = encoder_of(store, device) if asked or without else None
        vectors += [_vector(encoder, one) for one in asked]
        wrong = [_vector(encoder, one) for one in without]
        return ask(store, _direction(vectors, wrong), count, meant, same, leave_out=entries)


def encoder_of(store: Store, device: str = "auto") -> Encoder:
    """The model of an index.

    Raises:
        ConfigError: it has other weights than when the index was made.
        CheckpointError: it cannot be loaded any more.
    """
    encoder = load_encoder(store.about.model, device)
    if (encoder.weights, encoder.width) != (store.about.weights, store.about.width):
        raise ConfigError(
            f"{store.about.model} has other weights than when {store.place} was made ({encoder.weights}, then "
            f"{store.about.weights}); index the pictures again into another folder"
        )
    return encoder


def ask(
    store: Store,
    vector: Array,
    count: int,
    meant: Filter = ALL,
    same: float = SAME,
    *,
    leave_out: Collection[str] = (),
) -> list[Hit]:
    """Up to ``count`` answers to a vector (D,) of length 1; those that are the same count once."""
    wanted = max(_AT_ONCE, 4 * count)
    while True:
        found = store.nearest(vector, wanted, meant)
        hits = grouped([one for one in found if one.entry.id not in leave_out], same)
        if len(hits) >= count or len(found) < wanted:
            return hits[:count]
        wanted *= 4


def grouped(found: Sequence[Found], same: float = SAME) -> list[Hit]:
    """Answers, best first, in which frames of one video, copies of one file and near duplicates stand together.

    Each goes to the first answer before it that is of the same video; or that is the same part of a file with the same
    bytes; or whose cosine with it is at least ``same``, above 1 for never.
    """
    groups: list[list[Found]] = []
    for one in found:
        group = next((group for group in groups if _alike(group[0], one, same)), None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    return [Hit(best.entry, best.score, tuple(other.entry for other in others)) for best, *others in groups]


def _alike(first: Found, one: Found, same: float) -> bool:
    a, b = first.entry, one.entry
    film = a.path == b.path and a.second is not None and b.second is not None
    copy = (a.content, a.kind, a.second, a.box) == (b.content, b.kind, b.second, b.box)
    return film or copy or float(first.vector @ one.vector) >= same


def _entries(store: Store, ids: Sequence[str]) -> list[Found]:
    found = store.get(ids)
    if missing := [one for one in ids if one not in {each.entry.id for each in found}]:
        raise DataError(f"{store.place} has no entry {missing[0]}; `internimage search query --json` shows ids")
    return found


def _vector(encoder: Encoder | None, asked: str) -> Array:
    """Of words, or of a picture: what lies here, is an address or has the suffix of one."""
    assert encoder is not None
    if is_url(asked) or Path(asked).suffix.lower() in IMAGE_SUFFIXES or _is_file(asked):
        row: Array = encoder.pictures([ImageSource(asked, asked).read()])[0]
    else:
        row = encoder.texts([check_question(asked)])[0]
    return row


def _is_file(text: str) -> bool:
    with contextlib.suppress(OSError, ValueError):  # a sentence may be longer than any name
        return Path(text).is_file()
    return False


def _direction(vectors: Sequence[Array], without: Sequence[Array]) -> Array:
    total = np.stack(vectors).mean(0, np.float64)
    if without:
        total = total - np.stack(without).mean(0, np.float64)
    length = float(np.linalg.norm(total))
    if length < _NOTHING:
        raise ConfigError("nothing is left of the question: what is taken away is what is asked")
    direction: Array = (total / length).astype(np.float32)
    return direction
