"""What an index holds: pictures, boxes in them, frames of videos; and which of them a question means.  No torch."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, Any]"
Box: TypeAlias = "tuple[float, float, float, float]"
Kind: TypeAlias = Literal["picture", "box", "frame"]
KINDS: tuple[Kind, ...] = ("picture", "box", "frame")


class Stamp(NamedTuple):
    """By what a file is known to be unchanged: bytes, and nanoseconds of its last change."""

    size: int
    modified: int

    @classmethod
    def of(cls, path: str | Path) -> Stamp:
        """That of a file.

        Raises:
            OSError: it is not there.
        """
        status = os.stat(path)  # noqa: PTH116  paths are text here
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Entry:
    """A picture, a box in a picture or in a frame, or a frame of a video; beside it a vector is stored.

    Attributes:
        path: of its file, absolute, with slashes.
        kind: "picture", "box" or "frame".
        stamp: of the file when it was read.
        content: hash of the file's bytes, the same for copies.
        taken: when, by a clock at that place, in seconds since 1970 began there: EXIF's time, else the file's last
            change in the time zone of the machine that indexed it.
        width, height: of the whole picture or frame, upright, in pixels.
        second: of a frame and of a box in one, in seconds after the first frame.
        box: x1, y1, x2, y2 in pixels of the upright picture.
        label, score: of a box, as the detector says: the class, 0 to 1.
    """

    path: str
    kind: Kind
    stamp: Stamp
    content: str
    taken: float
    width: int
    height: int
    second: float | None = None
    box: Box | None = None
    label: str | None = None
    score: float | None = None

    @property
    def folder(self) -> str:
        """Where its file lies."""
        return PurePosixPath(self.path).parent.as_posix()

    @property
    def id(self) -> str:
        """16 hexadecimal digits that say which entry this is, also after it was read again."""
        second, box = self.second, self.box
        numbers = [None if second is None else float(second), None if box is None else [*map(float, box)]]
        place = json.dumps([self.path, self.kind, *numbers, self.label])
        return hashlib.blake2b(place.encode(), digest_size=8).hexdigest()

    def row(self) -> dict[str, Any]:
        """Everything of it as plain values, a name each, as stores keep it."""
        row = asdict(self) | {"id": self.id, "folder": self.folder, "box": None if self.box is None else list(self.box)}
        del row["stamp"]
        return row | {"bytes": self.stamp.size, "modified": self.stamp.modified}

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Entry:
        """What :meth:`row` gave; other names are left out."""
        values: dict[str, Any] = {field.name: row.get(field.name) for field in fields(cls)}
        values["stamp"] = Stamp(row["bytes"], row["modified"])
        values["box"] = None if row["box"] is None else tuple(row["box"])
        return cls(**values)


class Found(NamedTuple):
    """An entry of an index, its vector (D,) float32 of length 1, and its cosine with the question."""

    entry: Entry
    vector: Array
    score: float


@dataclass(frozen=True)
class Filter:
    """Which entries are meant; without anything all.

    Attributes:
        since, until: taken from then on, and before; as :attr:`Entry.taken`.
        folder: in it or below; absolute, with slashes.
        classes: boxes of these classes alone.
        min_score: boxes of at least this score alone.
        kinds: of these kinds; empty for all.
        paths: of these files; empty for all.
    """

    since: float | None = None
    until: float | None = None
    folder: str | None = None
    classes: tuple[str, ...] = ()
    min_score: float | None = None
    kinds: tuple[Kind, ...] = ()
    paths: tuple[str, ...] = ()


ALL = Filter()


def clean_path(path: str | Path) -> str:
    """A path as entries have it: absolute and with slashes; links stay."""
    return Path(os.path.abspath(Path(path).expanduser())).as_posix()  # noqa: PTH100  resolve() would follow links


def ancestors(folder: str) -> list[str]:
    """A folder and all that it lies in."""
    path = PurePosixPath(folder)
    return [one.as_posix() for one in (path, *path.parents)]
