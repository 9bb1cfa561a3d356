"""Images with objects as columns: twenty million boxes in a gigabyte, which processes share."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeAlias, overload

import numpy as np

from internimage.data.objects.annotations import ObjectAnnotation, ObjectImage, Verified
from internimage.data.objects.columns import (
    Array,
    Files,
    Identities,
    Paths,
    Ragged,
    files_of,
    identities_of,
    rows_of,
    starts,
    taken,
)

Verifieds: TypeAlias = "tuple[Ragged, Ragged, Ragged]"

_AT_ONCE = 256  # images that are made together when all are gone through
_ONE_QUAD = (len(b"p") + 2 * 4 + 8 * 8, len(b"p") + 2 * 4 + 10 * 8)  # bytes of one polygon of four points, or closed


@dataclass(frozen=True, eq=False)
class ObjectTable(Sequence[ObjectImage]):
    """N images and their M objects; each :class:`ObjectImage` is made when it is asked for.

    Attributes:
        files: of the images.
        identities: of the images.
        sizes: their (height, width), int32 (N, 2).
        first: where the objects of each image begin, and the end, int64 (N + 1,).
        boxes: float64 (M, 4), see :class:`ObjectAnnotation`.
        labels: int32 (M,).
        crowds: bool (M,).
        numbers: the objects' own identities.
        shapes: their segmentations, packed; None where no object has one.
        verified: present, absent and partly annotated classes of the images, packed; None where all are annotated.
    """

    files: Files
    identities: Identities
    sizes: Array
    first: Array
    boxes: Array
    labels: Array
    crowds: Array
    numbers: Identities
    shapes: Ragged | None = None
    verified: Verifieds | None = None

    @classmethod
    def of(cls, images: Sequence[ObjectImage]) -> ObjectTable:
        """The same images as columns."""
        if isinstance(images, ObjectTable):
            return images
        objects = [one for image in images for one in image.objects]
        asked = [image.verified for image in images if image.verified is not None]
        if asked and len(asked) < len(images):
            raise ValueError("classes are verified in some images only; expected in all or in none")
        return cls(
            files_of([image.file for image in images]),
            identities_of([image.identity for image in images]),
            np.array([image.size for image in images], np.int32).reshape(-1, 2),
            starts([len(image.objects) for image in images]),
            np.array([one.box for one in objects], np.float64).reshape(-1, 4),
            np.array([one.label for one in objects], np.int32),
            np.array([one.crowd for one in objects], bool),
            identities_of([one.identity for one in objects]),
            packed_shapes([one.segmentation for one in objects]),
            packed_verified(asked) if asked else None,
        )

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, index: int) -> ObjectImage: ...
    @overload
    def __getitem__(self, index: slice) -> ObjectTable: ...
    def __getitem__(self, index: int | slice) -> ObjectImage | ObjectTable:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        place = range(len(self))[index]
        return next(self._made(place, place + 1))

    def __iter__(self) -> Iterator[ObjectImage]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self._made(start, min(len(self), start + _AT_ONCE))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == its for one, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def take(self, images: Array) -> ObjectTable:
        """Some of the images, by their places."""
        rows = rows_of(self.first, images)
        return ObjectTable(
            taken(self.files, images),
            taken(self.identities, images),
            self.sizes[images],
            starts(self.first[images + 1] - self.first[images]),
            **self._objects(rows),
            verified=None if self.verified is None else tuple(one.take(images) for one in self.verified),  # type: ignore[arg-type]
        )

    def with_objects(self, keep: Array) -> ObjectTable:
        """All images with some of their objects: bool (M,)."""
        if keep.all():
            return self
        before = starts(keep)
        return replace(self, first=before[self.first], **self._objects(np.flatnonzero(keep)))

    @property
    def image_of(self) -> Array:
        """The place of each object's image: int64 (M,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))

    @property
    def with_shapes(self) -> Array:
        """Which objects have a segmentation: bool (M,)."""
        return np.zeros(len(self.labels), bool) if self.shapes is None else self.shapes.lengths > 0

    @property
    def outlined(self) -> Array:
        """See :attr:`ObjectAnnotation.outlined`: bool (M,)."""
        found = np.zeros(len(self.labels), bool)
        if self.shapes is not None:
            for row in np.flatnonzero(np.isin(self.shapes.lengths, _ONE_QUAD)).tolist():
                box = tuple(self.boxes[row].tolist())
                found[row] = ObjectAnnotation(box, 0, unpacked_shape(self.shapes[row]), False, 0).outlined
        return found

    def where(self, row: int) -> str:
        """An object's name for messages."""
        image = int(np.searchsorted(self.first, row, "right")) - 1
        return f"{self.name(image)} annotation {self.numbers[row]}"

    def called(self, name: str) -> list[int]:
        """Images whose file has this name."""
        if isinstance(self.files, Paths):
            return self.files.names.find(os.fsencode(name))
        return [image for image in range(len(self)) if self.name(image) == name]

    def name(self, image: int) -> str:
        """The name of an image's file, without its folder."""
        return self.files.name(image) if isinstance(self.files, Paths) else self.files[image].name

    def _objects(self, rows: Array) -> dict[str, Any]:
        return {name: taken(getattr(self, name), rows) for name in ("boxes", "labels", "crowds", "numbers", "shapes")}

    def _made(self, start: int, stop: int) -> Iterator[ObjectImage]:
        first = self.first[start : stop + 1].tolist()
        rows = slice(first[0], first[-1])
        shapes: Any = [None] * (first[-1] - first[0])
        if self.shapes is not None:
            shapes = [unpacked_shape(self.shapes[row]) for row in range(first[0], first[-1])]
        columns = (
            map(tuple, self.boxes[rows].tolist()),
            self.labels[rows].tolist(),
            shapes,
            self.crowds[rows].tolist(),
            _listed(self.numbers[rows]),
        )
        objects = [ObjectAnnotation(*row) for row in zip(*columns, strict=True)]
        identities, sizes = _listed(self.identities[start:stop]), self.sizes[start:stop].tolist()
        for place in range(start, stop):
            own = tuple(objects[first[place - start] - first[0] : first[place - start + 1] - first[0]])
            (height, width), verified = sizes[place - start], None
            if self.verified is not None:
                verified = Verified(*(frozenset(np.frombuffer(one[place], np.int32).tolist()) for one in self.verified))
            yield ObjectImage(self.files[place], identities[place - start], (height, width), own, verified)


def _listed(column: Any) -> list[Any]:
    values: list[Any] = column.tolist() if isinstance(column, np.ndarray) else list(column)
    return values


def packed_verified(images: Sequence[Verified]) -> Verifieds:
    """Classes of the images, for :attr:`ObjectTable.verified`."""
    columns = zip(*images, strict=True)
    present, absent, partly = (
        Ragged.of(np.array(sorted(some), np.int32).tobytes() for some in column) for column in columns
    )
    return present, absent, partly


def packed_shapes(shapes: Sequence[Any]) -> Ragged | None:
    """Segmentations of objects, for :attr:`ObjectTable.shapes`."""
    if all(shape is None for shape in shapes):
        return None
    return Ragged.of(map(packed_shape, shapes))


def packed_shape(shape: Any) -> bytes:
    """A segmentation as bytes: a letter for its kind, lengths or sizes, and its numbers or text."""
    if shape is None:
        return b""
    if isinstance(shape, list):
        lengths = np.array([len(shape), *map(len, shape)], np.uint32).tobytes()
        return b"".join([b"p", lengths, *(array("d", polygon).tobytes() for polygon in shape)])
    size, counts = np.array(shape["size"], np.int32).tobytes(), shape["counts"]
    if isinstance(counts, str):
        return b"t" + size + counts.encode()
    return b"n" + size + np.array(counts, np.int64).tobytes()


def unpacked_shape(content: bytes) -> list[array[float]] | dict[str, Any] | None:
    """The segmentation of :func:`packed_shape`."""
    if not content:
        return None
    if content[:1] == b"p":
        count = int.from_bytes(content[1:5], "little")
        lengths = np.frombuffer(content, np.uint32, count, 5).tolist()
        ends = (5 + 4 * count + 8 * starts(lengths)).tolist()
        return [array("d", content[start:stop]) for start, stop in pairwise(ends)]
    size = np.frombuffer(content, np.int32, 2, 1).tolist()
    counts = content[9:].decode() if content[:1] == b"t" else np.frombuffer(content, np.int64, -1, 9).tolist()
    return {"size": size, "counts": counts}
