"""Which paths of one list are which of another, where the folders before them differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import PurePath

from internimage.errors import DataError


def pair(
    wanted: Iterable[str], given: Iterable[str], where: str, key: Callable[[PurePath], str] = lambda path: path.name
) -> dict[str, str]:
    """The given path of each wanted one, missing ones left out.

    A wanted path is the given one of the same key (the name) that has most of its last folders, unless that one has
    more of the folders of another.

    Args:
        wanted, given: paths with slashes.
        where: what the given ones are from, for messages.
        key: what has to be the same.

    Raises:
        DataError: two given ones fit one equally well, or one fits two wanted ones equally well.
    """
    by_key: dict[str, list[PurePath]] = defaultdict(list)
    for path in map(PurePath, dict.fromkeys(given)):
        by_key[key(path)].append(path)
    found: dict[str, str] = {}
    taken: dict[str, tuple[int, str]] = {}
    for one in dict.fromkeys(wanted):
        fitting = by_key.get(key(PurePath(one)), [])
        likeness = [_common(PurePath(one), other) for other in fitting]
        best = [str(other) for other, count in zip(fitting, likeness, strict=True) if count == max(likeness)]
        if len(best) > 1:
            raise DataError(f"{where}: {one} may be {best[0]} or {best[1]}; give paths with their folders")
        for place in best:
            rank, other = taken.get(place, (-1, ""))
            if rank == max(likeness):
                raise DataError(f"{where}: {place} may be {other} or {one}; give paths with their folders")
            if rank < max(likeness):
                found.pop(other, None)
                found[one], taken[place] = place, (max(likeness), one)
    return found


def _common(one: PurePath, other: PurePath) -> int:
    """How many of the last folders of two paths are the same."""
    count = 0
    for a, b in zip(reversed(one.parts[:-1]), reversed(other.parts[:-1]), strict=False):
        if a != b:
            break
        count += 1
    return count
