"""What of a data set is not used: counted, named, and too much of it refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from internimage.errors import DataError

Unit = Literal[
    "objects", "pictures", "frames", "captions", "questions", "files", "folders", "polygons", "masks", "classes"
]
MUCH = 0.05
"""Share of objects, pictures, frames, captions or questions beyond which nothing is left out unless it is asked for."""

UNUSABLE = "cannot be used"
"""The reason of entries that contradict the format."""

_NAMED = 3
_LISTED = 10


@dataclass(frozen=True)
class LeftOut:
    """Something that is left out for one reason.

    Attributes:
        reason: such as "crowds" or "smaller than a pixel".
        unit: what is counted.
        names: each of them, as far as they have names; some, where they are many.
        count: how many.
        total: of how many; 0 where that says nothing.
        advice: what would use them; empty where nothing does.
        meant: whether the authors of a benchmark set leave them out too, so that however many are not too many.
    """

    reason: str
    unit: Unit
    names: tuple[str, ...]
    count: int
    total: int = 0
    advice: str = ""
    meant: bool = False

    def __str__(self) -> str:
        of = f" of {self.total}" if self.total else ""
        one = self.unit.removesuffix("s") if self.count == 1 and not self.total else self.unit
        text = f"{self.count}{of} {one} left out: {self.reason}"
        if self.names:
            more = ", ..." if self.count > _NAMED else ""
            text += f" ({', '.join(self.names[:_NAMED])}{more})"
        return f"{text}; {self.advice}" if self.advice else text


def is_much(left_out: Sequence[LeftOut]) -> bool:
    """Whether more than 5 % of the objects, pictures, frames, captions or questions are left out."""
    return bool(_much(left_out))


def refuse_much(name: str, left_out: Sequence[LeftOut], allowed: bool) -> None:
    """Raise :class:`DataError` if more than 5 % of the objects or pictures of a part are left out and nobody asked."""
    if (much := _much(left_out)) and not allowed:
        raise DataError(
            f"{name}: {'; '.join(map(str, much))}. More than {MUCH:.0%} is left out only with --allow-left-out (in "
            "Python DataOptions(allow_left_out=True))"
        )


def _much(left_out: Sequence[LeftOut]) -> list[LeftOut]:
    much: list[LeftOut] = []
    for unit in ("objects", "pictures", "frames", "captions", "questions"):
        found = [one for one in left_out if one.unit == unit and not one.meant]
        total = max((one.total for one in found), default=0)
        much += found if sum(one.count for one in found) > MUCH * total else []
    return much


class BadEntries:
    """Entries of a file that contradict its format: all of them are found before anything is said."""

    def __init__(self) -> None:
        self._found: dict[Unit, list[str]] = {}

    def add(self, unit: Unit, text: str) -> None:
        """Note an entry, by its place and what was expected."""
        self._found.setdefault(unit, []).append(text)

    def settle(self, drop: bool, totals: dict[Unit, int]) -> tuple[LeftOut, ...]:
        """What was left out, or the one error that lists the entries.

        Raises:
            DataError: there are such entries, and they are not to be dropped.
        """
        every = [text for found in self._found.values() for text in found]
        if every and not drop:
            more = f"\n  and {len(every) - _LISTED} more (internimage data check lists all)"
            listed = "\n  ".join(every[:_LISTED]) + (more if len(every) > _LISTED else "")
            advice = "--bad-entries drop leaves them out (in Python DataOptions(bad_entries='drop'))"
            if len(every) == 1:
                raise DataError(f"{every[0]} ({advice})")
            raise DataError(f"{len(every)} entries cannot be used; {advice}:\n  {listed}")
        return tuple(
            LeftOut(UNUSABLE, unit, tuple(found), len(found), totals.get(unit, 0))
            for unit, found in self._found.items()
        )


def shortened(names: Sequence[str], most: int = 8) -> list[str]:
    """The first of many names, and how many more there are."""
    return [*names[:most], f"and {len(names) - most} more"] if len(names) > most else list(names)
