"""Pictures that are there twice: the same file, the same content, or the same picture stored anew."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from internimage.data.samples import ImageFile
from internimage.errors import ImageReadError
from internimage.images.reader import thumbnail

LOOKED_AT = 20_000
"""Pictures up to which they are compared by what they show; of more, only equal files are found."""

_SIDE = 16  # of the thumbnails that are compared
_SAME = 2.0  # mean difference of their values, of 255; a picture stored anew as JPEG differs by less than one
_SAME_ANYWHERE = 16.0
_SHARE = 0.05  # of the contrast within a picture
_BANDS = 4  # of the hash: of near pictures at least one is equal
_NEIGHBOURS = 32  # that a picture is compared with where many have an equal band


def twin_groups(files: Sequence[ImageFile], follow: Callable[[Iterable[Any]], Iterable[Any]] = iter) -> list[list[int]]:
    """Numbers of the files, those of one picture together, in the order of the files.

    Equal paths, equal bytes, and, of at most ``LOOKED_AT`` files, pictures that look the same: thumbnails that differ
    by less than a hundredth and a twentieth of their contrast, as after scaling or storing anew.  Files that cannot be
    read are alone.

    Args:
        files: the pictures.
        follow: wraps what is looked at, for progress.
    """
    group = _Union(len(files))
    for same in (_equal_keys(files), _equal_bytes(files)):
        for numbers in same:
            for one, other in pairwise(numbers):
                group.join(one, other)
    if len(files) <= LOOKED_AT:
        for one, other in _alike(files, follow):
            group.join(one, other)
    return group.groups()


class _Union:
    """Disjoint sets of numbers."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self._root(one), self._root(other)))
        self._above[second] = first

    def groups(self) -> list[list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for number in range(len(self._above)):
            found[self._root(number)].append(number)
        return list(found.values())

    def _root(self, number: int) -> int:
        while self._above[number] != number:
            self._above[number] = self._above[self._above[number]]
            number = self._above[number]
        return number


def _equal_keys(files: Iterable[Hashable]) -> list[list[int]]:
    found: dict[Hashable, list[int]] = defaultdict(list)
    for number, file in enumerate(files):
        found[file].append(number)
    return [numbers for numbers in found.values() if len(numbers) > 1]


def _equal_bytes(files: Sequence[ImageFile]) -> list[list[int]]:
    """Only files of one length are read."""
    lengths = _equal_keys([_length(file) or -number - 1 for number, file in enumerate(files)])
    found = []
    with ThreadPoolExecutor() as pool:
        for numbers in lengths:
            digests = list(pool.map(_digest, [files[number] for number in numbers]))
            same = _equal_keys([digest or number for digest, number in zip(digests, numbers, strict=True)])
            found += [[numbers[place] for place in places] for places in same]
    return found


def _length(file: ImageFile) -> int:
    """0 for files that are not there."""
    try:
        return file.stat().st_size if isinstance(file, Path) else file.size
    except OSError:
        return 0


def _digest(file: ImageFile) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, ImageReadError):
        return ""


def _alike(files: Sequence[ImageFile], follow: Callable[[Iterable[Any]], Iterable[Any]]) -> list[tuple[int, int]]:
    """Pairs of pictures that look the same, found through equal bands of a difference hash."""
    with ThreadPoolExecutor() as pool:
        seen: list[NDArray[np.float32] | None] = list(follow(pool.map(_look, files)))
    readable = [number for number, thumbnail in enumerate(seen) if thumbnail is not None]
    pairs = []
    for band in range(_BANDS):
        bins: dict[bytes, list[int]] = defaultdict(list)
        for number in readable:
            thumbnail = seen[number]
            assert thumbnail is not None
            bins[_band(thumbnail, band)].append(number)
        for numbers in bins.values():
            ordered = sorted(numbers, key=lambda number: float(seen[number].mean()))  # type: ignore[union-attr]
            for place, one in enumerate(ordered):
                for other in ordered[place + 1 : place + 1 + _NEIGHBOURS]:
                    if _near(seen[one], seen[other]):  # type: ignore[arg-type]
                        pairs.append((one, other))
    return pairs


def _look(file: ImageFile) -> NDArray[np.float32] | None:
    """A thumbnail (16, 16, 3) with values 0 to 255; None of what cannot be read."""
    try:
        return np.asarray(thumbnail(file, _SIDE), np.float32)
    except ImageReadError:
        return None


def _band(thumbnail: NDArray[np.float32], band: int) -> bytes:
    """Four rows of which of two neighbours is the brighter one."""
    grey = thumbnail.mean(2)
    bits = (np.diff(grey[:, ::2], axis=1) > 0)[4 * band : 4 * band + 4]
    return np.packbits(bits).tobytes()


def _near(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    difference = np.abs(one - other)
    contrast = min(
        float(each.std((0, 1)).mean()) for each in (one, other)
    )  # dark and plain pictures are all near each other
    return contrast >= 1 and bool(
        difference.mean() <= min(_SAME, _SHARE * contrast) and difference.max() <= _SAME_ANYWHERE
    )
