"""One file of COCO's annotations, read in pieces into columns.

Annotations as most tools write them become columns as they are decoded; those that are written otherwise are looked at
one by one, with the same result.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from internimage.data.formats.coco_boxes import judge_boxes
from internimage.data.formats.coco_entries import (
    FAR,
    EntryError,
    Identity,
    corners,
    identities_in,
    key_of,
    object_in,
    segmentation_in,
    size_in,
)
from internimage.data.formats.coco_rows import Rows, unknown_image
from internimage.data.formats.json_lists import PIECE, Piece, read_entries, read_pieces
from internimage.data.formats.kept import KeptTable
from internimage.data.formats.pictures import PictureFinder, check_name
from internimage.data.left_out import BadEntries, LeftOut
from internimage.data.objects import ObjectImages, ObjectTable
from internimage.data.objects.columns import Array, Paths, identities_of, starts
from internimage.data.objects.table import packed_shape
from internimage.errors import DataError
from internimage.settings.data import DataOptions

_LISTS = ("annotations", "categories", "images")


_Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # what columns hold


class _Annotation(msgspec.Struct, gc=False):
    """An annotation as most tools write it."""

    id: _Id
    image_id: _Id
    category_id: _Id
    bbox: tuple[float, float, float, float] | None = None
    iscrowd: int | None = 0
    segmentation: Any = None


_NO_BOX = (float("inf"),) * 4
_ANNOTATIONS = msgspec.json.Decoder(list[_Annotation])
_ENTRIES = msgspec.json.Decoder(list[Any])


class CocoFile:
    """Reads one file.

    Args:
        path: of the file.
        pictures: where they are.
        needed: whether it is an error if none of them is there.
        named: the picture's name in an image's entry; ``file_name`` by default.
        keep: names of what else of an image's entry is wanted.
        without: names of pictures that are known to be unusable.
        piece: bytes that are read at once.

    Attributes:
        categories: the entries of the file.
        kept: of each image by its id, what ``keep`` names.
    """

    def __init__(
        self,
        path: Path,
        pictures: PictureFinder,
        needed: bool,
        *,
        named: Callable[[dict[str, Any]], Any] | None = None,
        keep: Sequence[str] = (),
        without: Iterable[str] = (),
        piece: int = PIECE,
    ) -> None:
        self.path = path
        self.needed = needed
        self.pictures = pictures
        self.categories: list[Any] = []
        self.kept: dict[Identity, dict[str, Any]] = {}
        self._named = named or (lambda entry: entry.get("file_name"))
        self._keep = keep
        self._without = tuple(sorted(without))
        self._piece = piece
        self._bad = BadEntries()
        self._totals: dict[str, int] = {}
        self._row: dict[Identity, int] = {}  # of an image by the key of its id
        self._files: list[str] = []
        self._identities: list[Identity] = []
        self._sizes: list[tuple[int, int]] = []
        self._first_name = ""
        self._found = 0
        self._rows = Rows()

    def read(self, options: DataOptions) -> ObjectImages:
        """Everything that can be used; see :func:`internimage.data.formats.coco.read_coco`."""
        self._options = options
        finder = self.pictures
        reading = (options.boxes, finder.folders, finder.root, self._named.__qualname__, self._keep, self._without)
        cache = KeptTable(self.path, *reading)
        if (kept := cache.load()) is not None:
            table, beside = kept
            self.categories = beside["categories"]
            if self._keep:
                self.kept = dict(zip(map(int, table.identities), beside["kept"], strict=True))
            classes = dict(beside["classes"])
            found = ObjectImages(str(self.path), tuple(classes.values()), tuple(classes), table)
            return _with_left_out(found, beside["unusable"])
        found, classes = self._read()
        unusable = sorted(row for name in self._without for row in found.table.called(name))
        names = [str(found.table.files[row]) for row in unusable]
        if unusable:
            found = found.chosen(np.delete(np.arange(len(found)), unusable).tolist(), found.name)
        if not (found.left_out or found.notes) and self._found == self._totals["images"]:
            beside = {"categories": self.categories, "kept": list(self.kept.values()), "classes": list(classes.items())}
            cache.keep(found.table, beside | {"unusable": names})
        return _with_left_out(found, names)

    def _read(self) -> tuple[ObjectImages, dict[Identity, str]]:
        """What the file says, and its classes by their ids."""
        options = self._options
        waiting: list[Piece] = []
        readers = {"annotations": _annotations, "categories": _entries, "images": _entries}
        for piece in read_pieces(self.path, readers, self._piece):
            self._totals[piece.key] = piece.first + len(piece.content)
            if piece.key == "categories":
                self.categories += piece.content
            elif piece.key == "images":
                self._add_images(piece)
            elif not self._add_objects(piece, known="images" in self._totals):
                waiting.append(piece)
        for key in _LISTS:
            if key not in self._totals or not (self._totals[key] or key == "annotations"):
                raise DataError(
                    f"{self.path} has no list {key!r}; expected an object with images, annotations and categories"
                )
        for piece in waiting:
            self._add_objects(piece, known=True)
        classes = self._classes()
        self._refuse_absent()
        table = self._table({key_of(identity): number for number, identity in enumerate(classes)})
        total = {"objects": self._totals["annotations"], "pictures": self._totals["images"]}
        left_out = self._bad.settle(options.bad_entries == "drop", total)  # type: ignore[arg-type]
        if options.boxes == "sizes":
            judge_boxes(self.path, table)
        names = tuple(classes.values())
        notes = self._notes(names)
        return ObjectImages(str(self.path), names, tuple(classes), table, "COCO", left_out, notes), classes

    def _notes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        twice = [entry["name"] for entry in self.categories if entry["name"] in names]
        dropped = [name for name, count in Counter(twice).items() if count > 1]
        notes = tuple(f"of two categories called {name} the one without objects is dropped" for name in dropped)
        return (*notes, *self.pictures.notes())

    def _classes(self) -> dict[Identity, str]:
        """Names by ids, in the order of the ids."""
        names: dict[Identity, str] = {}
        used = self._rows.categories()
        by_name: dict[str, Identity] = {}
        for index, entry in enumerate(self.categories):
            where = f"{self.path} categories[{index}]"
            try:
                (identity,) = identities_in(entry, "id")
            except EntryError as error:
                raise DataError(f"{where}{error}") from None
            name = entry.get("name")
            if not isinstance(name, str) or not name.strip():
                raise DataError(f"{where}: name is {name!r}; expected a text")
            if identity in names:
                raise DataError(f"{where}: the id {identity} is there twice; expected each id once")
            other = by_name.get(name)
            if other is not None and key_of(identity) in used and key_of(other) in used:
                raise DataError(
                    f"{where}: {name} is the name of {other} and of {identity}, which both have objects; expected each "
                    "name once"
                )
            if other is not None:  # a project called like its class, as some tools write it
                if key_of(identity) not in used:
                    continue
                del names[other]
            names[identity], by_name[name] = name, identity
        return {identity: names[identity] for identity in sorted(names, key=lambda one: (isinstance(one, str), one))}

    def _add_images(self, piece: Piece) -> None:
        for index, entry in enumerate(piece.content, piece.first):
            where = f"{self.path} images[{index}]"
            try:
                (identity,) = identities_in(entry, "id")
                name = check_name(where, self._named(entry))
                self._first_name = self._first_name or name
                if key_of(identity) in self._row:
                    raise EntryError(f": the id {identity} is there twice; expected each id once")
                file = self.pictures.locate(name)
                self._sizes.append(size_in(entry, file))
            except EntryError as error:
                self._bad.add("pictures", f"{where}{error}")
            except DataError as error:
                self._bad.add("pictures", str(error))
            else:
                self._found += file is not None
                self._row[key_of(identity)] = len(self._files)
                self._files.append(file or self._absent(name))
                self._identities.append(identity)
                if self._keep:
                    self.kept[identity] = {key: entry.get(key) for key in self._keep}

    def _absent(self, name: str) -> str:
        """Where a picture that is not there would be."""
        folder = next(iter(self.pictures.folders), self.pictures.root)
        return os.path.join(folder, name.replace("\\", "/").lstrip("/"))  # noqa: PTH118

    def _refuse_absent(self) -> None:
        if self._files and not self._found and self.needed:
            places = ", ".join(map(str, self.pictures.folders))
            raise DataError(
                f"{self.path}: {self._first_name} is in none of {places}, nor elsewhere below {self.pictures.root}"
            )

    def _add_objects(self, piece: Piece, *, known: bool) -> bool:
        """Take the annotations of a piece; false if that needs the images, which are not ``known`` yet."""
        odd: Sequence[int] = range(len(piece.content))
        entries = piece.content
        if piece.content and isinstance(piece.content[0], _Annotation):
            if not known and any(one.segmentation for one in piece.content):
                return False
            numbers = chain.from_iterable([one.bbox or _NO_BOX for one in piece.content])
            boxes = np.fromiter(numbers, np.float64, 4 * len(piece.content)).reshape(-1, 4)
            odd, shapes = self._odd(piece, boxes)
            if odd and not known:
                return False
            self._rows.add(piece.first, piece.content, boxes, odd, shapes)
            entries = read_entries(piece.text) if odd else ()
        if odd and not known:
            return False
        for place in odd:
            self._add_object(piece.first + place, entries[place])
        return True

    def _odd(self, piece: Piece, boxes: Array) -> tuple[Sequence[int], list[bytes] | None]:
        """Annotations to be looked at one by one, and the packed segmentations of all."""
        odd = set(np.flatnonzero(~(np.abs(boxes) <= FAR).all(1)).tolist())
        if not {one.iscrowd for one in piece.content} <= {0, 1, None}:
            odd |= {place for place, one in enumerate(piece.content) if one.iscrowd not in (0, 1, None)}
        if not any(one.segmentation for one in piece.content):
            return sorted(odd), None
        shapes = []
        for place, one in enumerate(piece.content):
            shape = b""
            if one.segmentation and place not in odd:
                try:
                    shape = self._packed(piece.first + place, one)
                except EntryError:
                    odd.add(place)
            shapes.append(shape)
        return sorted(odd), shapes

    def _packed(self, index: int, one: _Annotation) -> bytes:
        row = self._row.get(one.image_id)
        if row is None:  # said when all are known
            return b""
        found = segmentation_in(one.segmentation, self._sizes[row], self._options.boxes, self._bad_polygon(index))
        return packed_shape(found)

    def _bad_polygon(self, index: int) -> Callable[[str], None]:
        return lambda text: self._bad.add("polygons", f"{self.path} annotations[{index}]: {text}")

    def _add_object(self, index: int, entry: Any) -> None:
        try:
            identity, image, category = identities_in(entry, "id", "image_id", "category_id")
            row = self._row.get(key_of(image))
            if row is None:
                raise EntryError(unknown_image(image))
            size, boxes = self._sizes[row], self._options.boxes
            shape = segmentation_in(entry.get("segmentation") or None, size, boxes, self._bad_polygon(index))
            box, crowd = object_in(entry, size, shape, boxes)
        except EntryError as error:
            self._rows.refuse(index, str(error))
        else:
            self._rows.add_one(index, identity, row, key_of(category), box, crowd, packed_shape(shape))

    def _table(self, labels: dict[Identity, int]) -> ObjectTable:
        """Images and objects as columns; what is wrong is noted."""
        sizes = np.array(self._sizes, np.int32).reshape(-1, 2)
        found = self._rows.settled(self._row, labels, self._corners)
        for index, text in self._rows.wrong():
            self._bad.add("objects", f"{self.path} annotations[{index}]{text}")
        first = starts(np.bincount(found.images, minlength=len(sizes)))
        return ObjectTable(Paths.of(self._files), identities_of(self._identities), sizes, first, *found[1:])

    def _corners(self, values: Array, images: Array) -> Array:
        if not self._sizes:  # all are refused
            return values
        sizes = np.array(self._sizes, np.int32)[images]
        return np.stack(corners(self._options.boxes, values.T, sizes.T), 1)


def _with_left_out(found: ObjectImages, unusable: Sequence[str]) -> ObjectImages:
    if not unusable:
        return found
    count = len(unusable)
    one = LeftOut("known to be unusable", "pictures", tuple(unusable), count, len(found) + count, meant=True)
    return replace(found, left_out=(*found.left_out, one))


def _annotations(text: bytes) -> list[Any]:
    """Annotations as most tools write them, else whatever they are."""
    try:
        return _ANNOTATIONS.decode(text)
    except msgspec.DecodeError:
        return read_entries(text)


def _entries(text: bytes) -> list[Any]:
    try:
        return _ENTRIES.decode(text)
    except msgspec.DecodeError:  # of NaN, and of half a letter in UTF-16
        return read_entries(text)
