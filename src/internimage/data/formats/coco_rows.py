"""Annotations of a COCO file as columns, before their images and classes are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple, Protocol

import numpy as np

from internimage.data.formats.coco_entries import Box, Identity, key_of
from internimage.data.objects.columns import Array, Identities, Ragged, identities_of

_NONE = -1


class Annotation(Protocol):
    """An annotation with whole numbers of 64 bits."""

    @property
    def id(self) -> int: ...
    @property
    def image_id(self) -> int: ...
    @property
    def category_id(self) -> int: ...
    @property
    def iscrowd(self) -> int | None: ...


class Objects(NamedTuple):
    """Objects in the order of their images, and of the file in each: places of images, and as a table has them."""

    images: Array
    boxes: Array
    labels: Array
    crowds: Array
    numbers: Identities
    shapes: Ragged | None


class _Odd(NamedTuple):
    """An annotation that was looked at by itself: its place in the file, its image by its place."""

    row: int
    identity: Identity
    image: int
    category: Identity
    box: Box
    crowd: bool
    shape: bytes


class Rows:
    """Gathers annotations piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[tuple[Array, ...]] = []  # index, id, image, category, numbers of the box, crowd
        self._shapes: list[list[bytes] | int] = []  # of each piece; how many where none has one
        self._odd: list[_Odd] = []
        self._wrong: dict[int, str] = {}

    def add(
        self, first: int, content: Sequence[Annotation], values: Array, odd: Sequence[int], shapes: list[bytes] | None
    ) -> None:
        """Annotations that follow each other, without the ``odd`` ones.

        Args:
            first: the index of the first in the file.
            content: their ids.
            values: numbers of their boxes as the file has them, float64 (n, 4).
            odd: places in ``content``.
            shapes: their packed segmentations, if any has one.
        """
        keep = np.ones(len(content), bool)
        keep[list(odd)] = False
        count = len(content)
        ids = [np.fromiter(map(attrgetter(key), content), np.int64, count) for key in ("id", "image_id", "category_id")]
        crowds = np.fromiter((bool(one.iscrowd) for one in content), bool, count)
        columns = (np.arange(first, first + count), *ids, values, crowds)
        self._pieces.append(tuple(column[keep] for column in columns) if odd else columns)
        self._shapes.append([shapes[place] for place in np.flatnonzero(keep)] if shapes else int(keep.sum()))

    def add_one(
        self, index: int, identity: Identity, image: int, category: Identity, box: Box, crowd: bool, shape: bytes
    ) -> None:
        """One annotation: its image by its place, its box as x1, y1, x2, y2 in pixels."""
        self._odd.append(_Odd(index, identity, image, category, box, crowd, shape))

    def refuse(self, index: int, text: str) -> None:
        """Note what is wrong with an annotation."""
        self._wrong[index] = text

    def wrong(self) -> list[tuple[int, str]]:
        """What is wrong with which annotations, in the order of the file."""
        return sorted(self._wrong.items())

    def categories(self) -> set[Identity]:
        """Keys of the categories that any annotation names."""
        named = [np.unique(columns[3]) for columns in self._pieces]
        return {*(np.unique(np.concatenate(named)).tolist() if named else ()), *(one.category for one in self._odd)}

    def settled(
        self,
        images: Mapping[Identity, int],
        labels: Mapping[Identity, int],
        corners: Callable[[Array, Array], Array],
    ) -> Objects:
        """All that name an image and a category and have an id of their own; the others are refused.

        Args:
            images: places by the keys of their ids.
            labels: by the keys of the categories' ids.
            corners: numbers of boxes and places of their images to x1, y1, x2, y2 in pixels.
        """
        index, ids, image_ids, category_ids, values, crowds = self._columns()
        places, kinds = _looked_up(images, image_ids), _looked_up(labels, category_ids)
        for row in np.flatnonzero(places == _NONE).tolist():
            self.refuse(int(index[row]), unknown_image(int(image_ids[row])))
        for row in np.flatnonzero((kinds == _NONE) & (places != _NONE)).tolist():
            self.refuse(int(index[row]), _unknown_category(int(category_ids[row])))
        del image_ids, category_ids
        boxes = corners(values, places) if len(values) else values
        del values
        odd = [one for one in self._odd if one.category in labels]
        for one in self._odd:
            if one.category not in labels:
                self.refuse(one.row, _unknown_category(one.category))
        numbers: Identities = ids
        if odd:
            index = np.concatenate([index, np.array([one.row for one in odd], np.int64)])
            places = np.concatenate([places, np.array([one.image for one in odd], np.int64)])
            boxes = np.concatenate([boxes, np.array([one.box for one in odd], np.float64).reshape(-1, 4)])
            kinds = np.concatenate([kinds, np.array([labels[one.category] for one in odd], np.int64)])
            crowds = np.concatenate([crowds, np.array([one.crowd for one in odd], bool)])
            numbers = _together(ids, [one.identity for one in odd])
        keep = (places != _NONE) & (kinds != _NONE) & self._first_of_their_ids(numbers, index)
        order = np.argsort(index, kind="stable") if odd else np.arange(len(index))
        order = order[np.argsort(places[order], kind="stable")]
        order = order[keep[order]]
        del index, keep
        shapes = self._all_shapes([one.shape for one in odd])
        return Objects(
            places[order],
            boxes[order],
            kinds[order].astype(np.int32),
            crowds[order],
            numbers[order] if isinstance(numbers, np.ndarray) else tuple(numbers[row] for row in order.tolist()),
            Ragged.of(shapes[row] for row in order.tolist()) if shapes else None,
        )

    def _columns(self) -> list[Array]:
        """The pieces' columns, each of which is put together and forgotten before the next."""
        empty = (np.zeros(0, np.int64),) * 4 + (np.zeros((0, 4)), np.zeros(0, bool))
        pieces = [list(piece) for piece in self._pieces] or [list(empty)]
        self._pieces.clear()
        found = []
        for _ in range(len(empty)):
            found.append(np.concatenate([piece[0] for piece in pieces]))
            for piece in pieces:
                del piece[0]
        return found

    def _first_of_their_ids(self, numbers: Identities, index: Array) -> Array:
        """Which annotations have an id that none before them has; the others are refused."""
        first = np.ones(len(index), bool)
        if isinstance(numbers, np.ndarray):
            if (np.diff(numbers) > 0).all():
                return first
            order = np.lexsort((index, numbers))
            again = order[1:][numbers[order[1:]] == numbers[order[:-1]]]
        else:
            seen: set[Identity] = set()
            keys = [(row, key_of(numbers[row])) for row in np.argsort(index, kind="stable").tolist()]
            again = np.array([row for row, key in keys if key in seen or seen.add(key)], np.int64)  # type: ignore[func-returns-value]
        for row in again.tolist():
            self._wrong.setdefault(int(index[row]), f": the id {numbers[row]} is there twice; expected each id once")
        first[again] = False
        return first

    def _all_shapes(self, odd: list[bytes]) -> list[bytes]:
        """Packed segmentations of all annotations; nothing if none has one."""
        if not any(odd) and all(isinstance(own, int) for own in self._shapes):
            return []
        found: list[bytes] = []
        for own in self._shapes:
            found += [b""] * own if isinstance(own, int) else own
        return found + odd


def unknown_image(identity: Identity) -> str:
    return f": image {identity} is not in the file; expected the id of one of its images"


def _unknown_category(identity: Identity) -> str:
    return f": category {identity} is not in the file; expected the id of one of its categories"


def _looked_up(places: Mapping[Identity, int], keys: Array) -> Array:
    """The place of each key, -1 for none: int64."""
    known = np.array([(key, place) for key, place in places.items() if isinstance(key, int) and abs(key) < 2**63])
    if not len(known):
        return np.full(len(keys), _NONE)
    known = known[np.argsort(known[:, 0])]
    found = np.searchsorted(known[:, 0], keys).clip(max=len(known) - 1)
    return np.where(known[found, 0] == keys, known[found, 1], _NONE)


def _together(ids: Array, odd: Sequence[Identity]) -> Identities:
    """Ids of both kinds in one column."""
    if not odd:
        return ids
    column = identities_of(odd)
    if isinstance(column, np.ndarray):
        return np.concatenate([ids, column])
    return (*ids.tolist(), *odd)
