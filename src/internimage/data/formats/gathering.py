"""A data set of objects, gathered picture by picture by the reader of a format.

A reader opens one :class:`Gathering` a part, puts pictures and objects into it, and lets :func:`settled` make the
parts: entries that contradict the format are collected until all are known, everything that is no object is counted,
and classes have one list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from internimage.data.formats.kept import kept_sizes
from internimage.data.formats.parts import PART_NAMES
from internimage.data.formats.pictures import PictureFinder, check_name
from internimage.data.formats.shapes import BadEntryError, Box, Segmentation, outline_bounds, short
from internimage.data.left_out import BadEntries, LeftOut, Unit
from internimage.data.objects import ObjectAnnotation, ObjectImage, ObjectImages, bounds
from internimage.data.objects.columns import Array
from internimage.data.samples import ImageFile
from internimage.errors import DataError, ImageReadError
from internimage.images.decoding import exceeds_pixel_limit
from internimage.images.reader import picture_size
from internimage.settings.data import DataOptions


@dataclass
class DrawnPicture:
    """A picture, its (height, width), and what is drawn on it: class, box, outline or mask, crowd or not.

    ``identity`` is what the data call it, None for its place.
    """

    file: ImageFile
    size: tuple[int, int]
    objects: list[tuple[str, Box, Segmentation | None, bool]] = field(default_factory=list)
    identity: int | str | None = None


class Gathering:
    """One part of a data set.

    Args:
        name: where it lies, for messages.
        format: how it is written down.
        finder: finds pictures by the names in the files; None where files are found without.

    Attributes:
        notes: what was understood differently than written, a line each.
    """

    def __init__(self, name: str, format: str, finder: PictureFinder | None = None) -> None:
        self.name = name
        self.format = format
        self.finder = finder
        self.notes: list[str] = []
        self._pictures: list[DrawnPicture] = []
        self._identities: set[int | str | None] = set()
        self._absent: list[str] = []
        self._bad = BadEntries()
        self._totals: Counter[Unit] = Counter()
        self._left_out: dict[tuple[Unit, str, str, bool], list[str]] = {}

    @contextmanager
    def entry(self, unit: Unit, where: str) -> Iterator[None]:
        """One entry of a file: what is wrong with it is noted, and the next one follows."""
        self._totals[unit] += 1
        try:
            yield
        except (BadEntryError, DataError) as error:
            text = str(error)
            self._bad.add(unit, text if text.startswith(where) else f"{where}: {text}")

    def leave_out(
        self, reason: str, where: str, unit: Unit = "objects", advice: str = "", *, meant: bool = False
    ) -> None:
        """Count something that is right and yet no object; see :class:`internimage.data.left_out.LeftOut`."""
        self._left_out.setdefault((unit, reason, advice, meant), []).append(where)

    def find(
        self, name: object, size: tuple[int, int] | None = None, identity: int | str | None = None
    ) -> DrawnPicture:
        """The picture of a name, of ``size`` (height, width) or as its file says.

        Raises:
            BadEntryError: it has no name, or its size is not known.
        """
        assert self.finder is not None
        try:
            path = self.finder.find(check_name("", name))
        except DataError as error:
            raise BadEntryError(str(error).removeprefix(": ")) from None
        if path is None:
            self._absent.append(str(name))
            if size is None:
                raise BadEntryError(f"the picture {name} is not there, and its size is not in the file")
            folder = next(iter(self.finder.folders), self.finder.root)
            return self.add_picture(folder / str(name).replace("\\", "/").lstrip("/"), size, identity)
        return self.add_picture(path, size, identity)

    def add_picture(
        self, file: ImageFile, size: tuple[int, int] | None = None, identity: int | str | None = None
    ) -> DrawnPicture:
        """A picture by its file.

        Raises:
            BadEntryError: it cannot be read and its size is not known, or has more pixels than are read.
        """
        if identity is not None and identity in self._identities:
            raise BadEntryError(f"the picture {identity} is there twice; expected each once")
        height, width = size or file_size(file)
        if exceeds_pixel_limit(width, height):
            raise BadEntryError(f"the picture has {width}x{height} pixels, more than are read (--max-pixels N)")
        drawn = DrawnPicture(file, (height, width), identity=identity)
        self._identities.add(identity)
        self._pictures.append(drawn)
        return drawn

    def add(
        self,
        picture: DrawnPicture,
        label: object,
        box: Box | None,
        segmentation: Segmentation | None = None,
        crowd: bool = False,
    ) -> None:
        """An object; without a box it has that of its outline or mask.

        Raises:
            BadEntryError: its class has no name, its mask no pixel, or its box ends before it begins.
        """
        if not isinstance(label, str) or not label.strip():
            raise BadEntryError(f"the class is {short(label)}; expected a name")
        if box is None and isinstance(segmentation, list):
            box = outline_bounds(segmentation)
        elif box is None:
            box = bounds(ObjectAnnotation((0, 0, 0, 0), 0, segmentation, crowd, 0), picture.size)
            if box[2] <= box[0]:
                raise BadEntryError("the mask has no pixel")
        if box[2] < box[0] or box[3] < box[1]:
            edges = "{:g}, {:g} to {:g}, {:g}".format(*box)
            raise BadEntryError(f"the box reaches from x, y {edges}; expected that it ends where it begins or later")
        picture.objects.append((label, box, segmentation, crowd))

    def labels(self) -> set[str]:
        """Classes that any object is of."""
        return {label for picture in self._pictures for label, *_ in picture.objects}

    def settle(self, options: DataOptions, classes: Sequence[str], ids: Sequence[int | str]) -> ObjectImages:
        """Everything that can be used, numbered by ``classes``, which the data call ``ids``.

        Raises:
            DataError: there are entries that contradict the format, and they are not to be dropped; or no picture is
                there.
        """
        left_out = self._bad.settle(options.bad_entries == "drop", dict(self._totals))
        if self._absent and len(self._absent) >= len(self._pictures) and self.finder is not None:
            places = ", ".join(map(str, self.finder.folders)) or str(self.finder.root)
            raise DataError(f"{self.name}: {self._absent[0]} is in none of {places}, nor below {self.finder.root}")
        if not self._pictures:
            raise DataError(f"{self.name} has no picture that can be used")
        number, identity, images = {name: index for index, name in enumerate(classes)}, 0, []
        for index, picture in enumerate(self._pictures, 1):
            objects = []
            for label, box, segmentation, crowd in picture.objects:
                identity += 1
                objects.append(ObjectAnnotation(box, number[label], segmentation, crowd, identity))
            name = index if picture.identity is None else picture.identity
            images.append(ObjectImage(picture.file, name, picture.size, tuple(objects)))
        totals = Counter[Unit]({"objects": identity, "pictures": len(images)})
        for (unit, *_), names in self._left_out.items():
            totals[unit] += len(names)
        counted = tuple(
            LeftOut(reason, unit, tuple(names), len(names), totals[unit], advice, meant)
            for (unit, reason, advice, meant), names in self._left_out.items()
        )
        notes = (*self.notes, *(self.finder.notes() if self.finder else ()))
        left = (*left_out, *counted)
        return ObjectImages(self.name, tuple(classes), tuple(ids), tuple(images), self.format, left, notes)


def settled(
    gathered: Mapping[str, Gathering],
    wanted: str | None,
    options: DataOptions | None,
    classes: Sequence[str] | None = None,
    first: int = 1,
    ids: Sequence[int | str] | None = None,
) -> dict[str, ObjectImages]:
    """The parts in their usual order, or the wanted one if there is such, with one list of classes.

    Args:
        gathered: by the names of the parts.
        wanted: the part that is asked for.
        options: how annotations are read.
        classes: their names where the format lists them; else they are sorted by name.
        first: the id of the first class, where they are counted.
        ids: what the data call the classes, else.

    Raises:
        DataError: there is nothing, no object at all, or :meth:`Gathering.settle` refuses a part.
    """
    if classes is None:
        classes = sorted(set().union(*(part.labels() for part in gathered.values())))
    ids = range(first, first + len(classes)) if ids is None else ids
    chosen = {name: part for name, part in gathered.items() if name == wanted} or gathered
    parts = {
        name: chosen[name].settle(options or DataOptions(), classes, ids)
        for name in (*PART_NAMES, "all")
        if name in chosen
    }
    if not classes:
        raise DataError(f"{next(iter(gathered.values())).name}: no object is drawn on any picture")
    return parts


def file_size(file: ImageFile) -> tuple[int, int]:
    """(height, width) of a picture.

    Raises:
        BadEntryError: it cannot be read.
    """
    try:
        width, height = picture_size(file)
    except ImageReadError as error:
        raise BadEntryError(f"its size is not known: {error}") from error
    return height, width


def file_sizes(files: Iterable[Path]) -> list[tuple[int, int] | None]:
    """(height, width) of many pictures; None of what cannot be read.  Those of very many are kept for the next time."""

    def size(file: Path) -> tuple[int, int]:
        try:
            return file_size(file)
        except BadEntryError:
            return 0, 0

    def measure(files: Sequence[Path]) -> Array:
        with ThreadPoolExecutor() as pool:
            return np.array(list(pool.map(size, files)), np.int32).reshape(-1, 2)

    return [(height, width) if height else None for height, width in kept_sizes(list(files), measure).tolist()]
