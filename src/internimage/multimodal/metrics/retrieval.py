"""Finding captions by pictures and pictures by captions: ranks and recall at K, as on COCO and Flickr30k.

A caption belongs to one picture, a picture may have several: it is found by the best placed of them.  The rank of an
item is the number of items before it in stable descending order, so that of equal scores the first one comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from internimage.errors import DataError, NonFiniteError
from internimage.multimodal.metrics.ngrams import Integers

RECALLS = (1, 5, 10)
_BLOCK = 8_000_000  # similarities at once
Features: TypeAlias = "np.ndarray[Any, Any]"


@dataclass(frozen=True)
class Ranks:
    """How many items come before the first right one.

    Attributes:
        image_to_text: for each picture, (N,).
        text_to_image: for each caption, (M,).
    """

    image_to_text: Integers
    text_to_image: Integers

    def compute(self) -> dict[str, float]:
        """Both ways "image_to_text_r1", "..._r5", "..._r10", shares, their mean "mean_recall", and ranks from 1.

        "..._median_rank" and "..._mean_rank" are of the first right item.
        """
        found: dict[str, float] = {}
        for name, ranks in (("image_to_text", self.image_to_text), ("text_to_image", self.text_to_image)):
            found |= {f"{name}_r{k}": float((ranks < k).mean()) for k in RECALLS}
            found[f"{name}_median_rank"] = float(np.median(ranks)) + 1
            found[f"{name}_mean_rank"] = float(ranks.mean()) + 1
        recalls = [value for name, value in found.items() if name.endswith(tuple(f"_r{k}" for k in RECALLS))]
        return found | {"mean_recall": float(np.mean(recalls))}


class RetrievalScore:
    """Features of pictures and of their captions, added picture by picture.

    Similarities are dot products: features of length 1 are compared by the cosine.
    """

    def __init__(self) -> None:
        self._rows: dict[int, tuple[Features, Features]] = {}

    def add(self, picture: Features, captions: Features, place: int) -> None:
        """One picture, (D,), and its captions, (C, D); ``place`` orders the pictures of several processes.

        Raises:
            DataError: it has no captions, or the shapes do not fit.
        """
        if picture.ndim != 1 or captions.ndim != 2 or captions.shape[1] != len(picture) or not len(captions):
            raise DataError(
                f"features of a picture {picture.shape} and of its captions {captions.shape}; expected (D,) and (C, D) "
                "with one caption or more"
            )
        self._rows[place] = picture, captions

    def __len__(self) -> int:
        return len(self._rows)

    def state(self) -> Any:
        return self._rows

    def merge(self, states: Sequence[Any]) -> None:
        self._rows = {place: row for rows in states for place, row in rows.items()}

    def compute(self) -> dict[str, float]:
        """See :meth:`Ranks.compute`, and "images", "captions"."""
        return self._numbers(sorted(self._rows)) if self._rows else {}

    def of_folds(self, size: int = 1000) -> dict[str, float]:
        """The mean over parts of ``size`` pictures in order, each searched alone, as of COCO's 1K test.

        Raises:
            DataError: the pictures are not a multiple of ``size``.
        """
        places = sorted(self._rows)
        if not places or len(places) % size:
            raise DataError(f"{len(places)} pictures cannot be divided into parts of {size}")
        parts = [self._numbers(places[first : first + size]) for first in range(0, len(places), size)]
        return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}

    def _numbers(self, places: Sequence[int]) -> dict[str, float]:
        rows = [self._rows[place] for place in places]
        captions = np.concatenate([row[1] for row in rows])
        picture_of = np.repeat(np.arange(len(rows)), [len(row[1]) for row in rows])
        found = ranks(np.stack([row[0] for row in rows]), captions, picture_of)
        return found.compute() | {"images": float(len(rows)), "captions": float(len(captions))}


def ranks(pictures: Features, captions: Features, picture_of: Integers) -> Ranks:
    """Ranks by the dot products of features, some at a time.

    Args:
        pictures: (N, D).
        captions: (M, D).
        picture_of: the picture of each caption, (M,).

    Raises:
        DataError: a picture has no caption, or a caption no picture.
        NonFiniteError: a similarity is NaN or infinite.
    """
    _check(len(pictures), len(captions), picture_of)
    found = [
        image_to_text(pictures[some] @ captions.T, picture_of, some.start)
        for some in _blocks(len(pictures), len(captions))
    ]
    other = [
        text_to_image(pictures @ captions[some].T, picture_of[some]) for some in _blocks(len(captions), len(pictures))
    ]
    return Ranks(np.concatenate(found), np.concatenate(other))


def image_to_text(similarity: Features, picture_of: Integers, first: int = 0) -> Integers:
    """The rank of the best placed caption of each picture, (B,).

    Args:
        similarity: of pictures from ``first`` on with all captions, (B, M).
        picture_of: the picture of each caption, (M,).
        first: the number of the first picture.
    """
    _refuse_strange(similarity)
    own = picture_of == np.arange(first, first + len(similarity))[:, None]
    best = np.where(own, similarity, -np.inf).argmax(1)  # the first of equal ones
    score = np.take_along_axis(similarity, best[:, None], 1)
    before = (similarity == score) & (np.arange(similarity.shape[1]) < best[:, None])
    return np.count_nonzero((similarity > score) | before, axis=1)


def text_to_image(similarity: Features, picture_of: Integers) -> Integers:
    """The rank of its picture for each caption, (B,).

    Args:
        similarity: of all pictures with some captions, (N, B).
        picture_of: the picture of each of these, (B,).
    """
    _refuse_strange(similarity)
    score = np.take_along_axis(similarity, picture_of[None], 0)
    before = (similarity == score) & (np.arange(len(similarity))[:, None] < picture_of)
    return np.count_nonzero((similarity > score) | before, axis=0)


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, _BLOCK // max(1, columns))
    return (slice(first, min(rows, first + step)) for first in range(0, rows, step))


def _check(pictures: int, captions: int, picture_of: Integers) -> None:
    if len(picture_of) != captions or not captions or picture_of.min() < 0 or picture_of.max() >= pictures:
        raise DataError(f"{captions} captions of {pictures} pictures; expected one or more, each with its picture")
    if len(bare := np.flatnonzero(np.bincount(picture_of, minlength=pictures) == 0)):
        raise DataError(f"picture {bare[0]} has no caption; expected one or more of each")


def _refuse_strange(similarity: Features) -> None:
    """NaN would come before nothing, and so be the best of all ranks."""
    if not np.isfinite(similarity).all():
        raise NonFiniteError("similarities of pictures and captions are NaN or infinite; the model's features are")
