"""What checks of all kinds of data have in common: reading once, the same pictures twice, findings as text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from internimage.data.samples import HasFile, ImageFile
from internimage.errors import ImageReadError
from internimage.images import read_image

_SHOWN = 10  # findings of a kind


def overlap(first: Iterable[HasFile], second: Iterable[HasFile]) -> list[tuple[str, str]]:
    """Pairs of files with the same pixels in two parts of a data set: leakage from training into evaluation."""
    seen: dict[str, str] = {}
    pairs = []
    with ThreadPoolExecutor() as pool:
        for part, collect in ((first, True), (second, False)):
            files = [each.file for each in part]
            for file, outcome in zip(files, pool.map(fingerprint, files), strict=True):
                if isinstance(outcome, ImageReadError):
                    continue
                if collect:
                    seen.setdefault(outcome[0], str(file))
                elif outcome[0] in seen:
                    pairs.append((seen[outcome[0]], str(file)))
    return pairs


def fingerprint(file: ImageFile) -> tuple[str, tuple[int, int]] | ImageReadError:
    """A digest of a picture's pixels, and its (width, height)."""
    try:
        image = read_image(file)
    except ImageReadError as error:
        return error
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest(), image.size


def extent(sizes: tuple[tuple[int, int], tuple[int, int]] | None) -> str:
    """``, 20x30 to 400x300``: the smallest and the largest (width, height); nothing without any."""
    if sizes is None:
        return ""
    (width, height), (most_width, most_height) = sizes
    return f", {width}x{height} to {most_width}x{most_height}"


def count_lines(counts: Mapping[str, int]) -> list[str]:
    """A line for each name."""
    width = max(len(label) for label in counts)
    return [f"  {label:<{width}}  {count}" for label, count in counts.items()]


def kind_lines(kinds: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each finding, and one for those beyond ten of a kind."""
    lines = []
    for kind, entries in kinds.items():
        lines += [f"  {kind}: {entry}" for entry in entries[:_SHOWN]]
        if len(entries) > _SHOWN:
            lines.append(f"  {kind}: and {len(entries) - _SHOWN} more (all of them with --json)")
    return lines
