"""Pictures with words, gathered by the reader of a format: what is wrong is collected until all of it is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from internimage.data.formats.parts import PART_NAMES
from internimage.data.formats.pictures import PictureFinder, check_name
from internimage.data.formats.shapes import BadEntryError, short
from internimage.data.left_out import BadEntries, LeftOut, Unit
from internimage.errors import DataError
from internimage.multimodal.data.pairs import Described, Pairs, Question
from internimage.settings.data import DataOptions

Identity = int | str
Value = TypeVar("Value")
_NAMED = 20  # of what is left out


@dataclass
class Picture:
    """One picture, while its words are gathered."""

    file: Path
    identity: Identity | None
    captions: list[str] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)


class Gathering:
    """One part of a data set.

    Args:
        name: where it lies, for messages.
        format: how it is written down.
        finder: finds pictures by the names in the files.
    """

    def __init__(self, name: str, format: str, finder: PictureFinder) -> None:
        self.name = name
        self.format = format
        self.finder = finder
        self._pictures: dict[str, Picture] = {}  # by their paths
        self._named: dict[str, Picture] = {}  # by what entries call them: a picture may have a hundred questions
        self._absent: set[str] = set()
        self._bad = BadEntries()
        self._totals: Counter[Unit] = Counter()
        self._left_out: dict[tuple[Unit, str], list[str]] = {}

    @contextmanager
    def entry(self, unit: Unit, where: str) -> Iterator[None]:
        """One entry of a file: what is wrong with it is noted, and the next one follows."""
        self._totals[unit] += 1
        try:
            yield
        except BadEntryError as error:
            self._bad.add(unit, f"{where}: {error}")

    def leave_out(self, unit: Unit, reason: str, where: str) -> None:
        """Count what is right and not used, as the authors of the set do."""
        self._left_out.setdefault((unit, reason), []).append(where)

    def picture(self, name: object, identity: Identity | None = None) -> Picture:
        """The picture of a name; the same one for a name that comes again.

        Raises:
            BadEntryError: it has no name that stays inside, or is not there.
        """
        if isinstance(name, str) and name in self._named:
            return self._named[name]
        try:
            checked = check_name("", name)
        except DataError as error:
            raise BadEntryError(str(error).removeprefix(": ")) from None
        path = self.finder.locate(checked)
        if path is None:
            self._absent.add(checked)
            raise BadEntryError(f"the picture {checked} is {self._nowhere()}")
        if path not in self._pictures:
            self._pictures[path] = Picture(Path(path), identity)
        self._named[checked] = self._pictures[path]
        return self._pictures[path]

    def settle(self, options: DataOptions) -> Pairs:
        """Everything that can be used: pictures with a caption or a question.

        Raises:
            DataError: entries contradict the format and are not to be dropped; or there is nothing.
        """
        if self._absent and not self._pictures:
            raise DataError(f"{self.name}: no picture is there; {min(self._absent)} is {self._nowhere()}")
        left_out = list(self._bad.settle(options.bad_entries == "drop", dict(self._totals)))
        described = [one for one in self._pictures.values() if one.captions or one.questions]
        if not described:
            raise DataError(f"{self.name} has no picture with a caption or a question that can be used")
        bare = [str(one.file) for one in self._pictures.values() if not (one.captions or one.questions)]
        if bare:
            named = tuple(bare[:_NAMED])
            left_out.append(LeftOut("no caption, no question", "pictures", named, len(bare), len(self._pictures)))
        for (unit, reason), names in self._left_out.items():
            total = self._totals[unit] + len(names)
            left_out.append(LeftOut(reason, unit, tuple(names[:_NAMED]), len(names), total, meant=True))
        entries = tuple(
            Described(one.file, tuple(one.captions), tuple(one.questions), one.identity) for one in described
        )
        return Pairs(self.name, entries, self.format, tuple(left_out), self.finder.notes())

    def _nowhere(self) -> str:
        places = ", ".join(map(str, self.finder.folders[:3])) or str(self.finder.root)
        return f"in none of {places}, nor below {self.finder.root}"


def settled(gathered: Mapping[str, Gathering], options: DataOptions | None) -> dict[str, Pairs]:
    """The parts, the usual ones first."""
    order = (*PART_NAMES, *(name for name in gathered if name not in PART_NAMES))
    return {name: gathered[name].settle(options or DataOptions()) for name in order if name in gathered}


def chosen(files: Mapping[str, Value], wanted: str | None) -> dict[str, Value]:
    """The wanted one alone if there is such, else all."""
    return {part: file for part, file in files.items() if part == wanted} or dict(files)


def part_title(root: Path, part: str) -> str:
    """``data (train)``: what a part is called in messages."""
    return str(root) if part == "all" else f"{root} ({part})"


def text_in(value: object, what: str) -> str:
    """A text that is not empty, without blanks around it.

    Raises:
        BadEntryError: it is none.
    """
    if not isinstance(value, str) or not value.strip():
        raise BadEntryError(f"the {what} is {short(value)}; expected a text that is not empty")
    return value.strip()


def converted(value: object, kind: type[Value], expected: str) -> Value:
    """An entry of a file as a structure.

    Raises:
        BadEntryError: it is none.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason = str(error).replace("`", "")
        raise BadEntryError(f"{reason[:1].lower()}{reason[1:]}; expected {expected}") from None


def list_in(content: Any, key: str, file: Path) -> list[Any]:
    """A list of a JSON object.

    Raises:
        DataError: there is none.
    """
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise DataError(f"{file} has no list {key!r}")
    return found


def numbered(entries: Iterable[Any], file: Path, key: str) -> Iterator[tuple[str, Any]]:
    """Entries of a list, each with its place for messages."""
    return ((f"{file}: {key}[{number}]", entry) for number, entry in enumerate(entries))
