"""Pictures of one class each, gathered by the reader of a format; the counterpart of ``gathering`` for objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from internimage.data.formats.parts import PART_NAMES
from internimage.data.formats.pictures import PictureFinder, check_name
from internimage.data.formats.shapes import BadEntryError, short
from internimage.data.left_out import BadEntries, LeftOut
from internimage.data.samples import LabelledImage, LabelledImages
from internimage.errors import DataError
from internimage.settings.data import DataOptions


class Labelling:
    """One part of a data set.

    Args:
        name: where it lies, for messages.
        format: how it is written down.
        finder: finds pictures by the names in the files.

    Attributes:
        notes: what was understood differently than written, a line each.
    """

    def __init__(self, name: str, format: str, finder: PictureFinder) -> None:
        self.name = name
        self.format = format
        self.finder = finder
        self.notes: list[str] = []
        self._labelled: list[tuple[Path, str]] = []
        self._bad = BadEntries()
        self._entries = 0
        self._left_out: dict[str, list[str]] = {}

    @contextmanager
    def entry(self, where: str) -> Iterator[None]:
        """One picture: what is wrong with it is noted, and the next one follows."""
        self._entries += 1
        try:
            yield
        except BadEntryError as error:
            self._bad.add("pictures", f"{where}: {error}")

    def leave_out(self, reason: str, where: str) -> None:
        """Count a picture that is right and yet has no class."""
        self._left_out.setdefault(reason, []).append(where)

    def add(self, picture: object, label: object) -> None:
        """A picture by its name, and its class.

        Raises:
            BadEntryError: it is not there, or the class has no name.
        """
        if not isinstance(label, str | int) or isinstance(label, bool) or not str(label).strip():
            raise BadEntryError(f"the class is {short(label)}; expected a name")
        try:
            path = self.finder.find(check_name("", picture))
        except DataError as error:
            raise BadEntryError(str(error).removeprefix(": ")) from None
        if path is None:
            places = ", ".join(map(str, self.finder.folders[:3])) or str(self.finder.root)
            raise BadEntryError(f"the picture {picture} is in none of {places}, nor below {self.finder.root}")
        self._labelled.append((path, str(label).strip()))

    def labels(self) -> set[str]:
        """Classes of any picture."""
        return {label for _, label in self._labelled}

    def settle(self, options: DataOptions, classes: tuple[str, ...]) -> LabelledImages:
        """Everything that can be used.

        Raises:
            DataError: there are entries that contradict the format, and they are not to be dropped; or there is none.
        """
        left_out = self._bad.settle(options.bad_entries == "drop", {"pictures": self._entries})
        if not self._labelled:
            raise DataError(f"{self.name} has no picture with a class that can be used")
        number = {name: index for index, name in enumerate(classes)}
        total = self._entries + sum(map(len, self._left_out.values()))
        counted = tuple(
            LeftOut(reason, "pictures", tuple(names), len(names), total) for reason, names in self._left_out.items()
        )
        samples = tuple(LabelledImage(path, number[label]) for path, label in self._labelled)
        notes = (*self.notes, *self.finder.notes())
        return LabelledImages(self.name, classes, samples, self.format, (*left_out, *counted), notes)


def settled_labels(
    gathered: Mapping[str, Labelling], wanted: str | None, options: DataOptions | None
) -> dict[str, LabelledImages]:
    """The parts in their usual order, or the wanted one if there is such, with one list of classes, sorted by name."""
    classes = tuple(sorted(set().union(*(part.labels() for part in gathered.values()))))
    chosen = {name: part for name, part in gathered.items() if name == wanted} or gathered
    return {
        name: chosen[name].settle(options or DataOptions(), classes) for name in (*PART_NAMES, "all") if name in chosen
    }
