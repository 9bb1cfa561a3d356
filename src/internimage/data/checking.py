"""What checks of all kinds of data have in common: reading once, the same pictures twice, findings as text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from internimage.data.left_out import UNUSABLE, is_much
from internimage.data.samples import ImageFile, Part
from internimage.data.splits import Splits
from internimage.data.twins import twin_groups
from internimage.errors import ImageReadError
from internimage.images import ImageSource, read_image
from internimage.images.pages import first_pages_note, has_several_pages
from internimage.images.reader import exif_turn
from internimage.settings.data import DataOptions

_HEADERS = 2_000  # of pictures that are looked at before a run
_SHOWN = 10  # findings of a kind


@dataclass
class PartFindings:
    """What can be said of a part of any data set.

    Attributes:
        notes: what was understood differently than written.
        left_out: what training and evaluation do not use, a line for each reason.
        twins: groups of files that show the same picture.
        turned: pictures that their EXIF data turn, as they are read; no error, if what is drawn on them was drawn on
            the turned picture.
        paged: files of several pages, of which the first is read.
        much: whether more is left out than training allows unasked.
        unusable: entries that cannot be used at all.
    """

    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    twins: list[list[str]] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)
    paged: list[str] = field(default_factory=list)
    much: bool = False
    unusable: list[str] = field(default_factory=list)

    @property
    def errors(self) -> bool:
        """Whether training would stop or learn from a part of the data only."""
        return self.much or bool(self.unusable)

    def lines(self) -> list[str]:
        """The findings as text."""
        kinds = {
            "cannot be used": self.unusable,
            "same picture": [", ".join(group) for group in self.twins],
            "turned by EXIF (are its boxes and masks?)": self.turned,
            "has several pages, the first is read": self.paged,
        }
        return [f"  {line}" for line in self.left_out] + kind_lines(kinds)


def look_over(
    parts: Mapping[str, Part], options: DataOptions, follow: Callable[[Iterable[Any]], Iterable[Any]] = iter
) -> tuple[dict[str, PartFindings], dict[str, list[tuple[str, str]]]]:
    """Findings about each part, and pairs of files of the training part and of another that show one picture.

    Args:
        parts: read so that bad entries are dropped.
        options: how training would read.
        follow: wraps the pictures that are looked at, for progress.
    """
    files = [(name, entry.file) for name, part in parts.items() for entry in part.entries]
    groups = [[files[i] for i in group] for group in twin_groups([file for _, file in files], follow) if len(group) > 1]
    found, leaks = {}, {name: list[tuple[str, str]]() for name in parts if "train" in parts and name != "train"}
    for name, part in parts.items():
        usable = part.usable(options)
        same = [[str(file) for where, file in group if where == name] for group in groups]
        found[name] = PartFindings(
            list(part.notes),
            [str(one) for one in usable.left_out if one.reason != UNUSABLE],
            [group for group in same if len(group) > 1],
            turned_pictures(entry.file for entry in part.entries),
            paged_pictures(entry.file for entry in part.entries),
            is_much(usable.left_out),
            [text for one in usable.left_out if one.reason == UNUSABLE for text in one.names],
        )
        if name in leaks:
            for group in groups:
                first = next((str(file) for where, file in group if where == "train"), None)
                leaks[name] += [(first, str(file)) for where, file in group if where == name and first is not None]
    return found, leaks


def turned_pictures(files: Iterable[ImageFile]) -> list[str]:
    """Names of the pictures that their EXIF data turn, by their headers."""

    def turned(file: ImageFile) -> bool:
        try:
            return isinstance(file, Path) and exif_turn(file) != 1
        except ImageReadError:
            return False

    return _names_of(turned, files)


def paged_pictures(files: Iterable[ImageFile]) -> list[str]:
    """Names of the files that have several pages, by their headers."""
    return _names_of(lambda file: isinstance(file, Path) and has_several_pages(ImageSource(str(file), file)), files)


def pages_notes(splits: Splits[Any]) -> list[str]:
    """Which files have several pages, as far as a look at some of their headers tells; nothing without any."""
    paged = paged_pictures(_some_files(splits))
    return [first_pages_note(paged)] if paged else []


def _names_of(wanted: Callable[[ImageFile], bool], files: Iterable[ImageFile]) -> list[str]:
    listed = list(files)
    with ThreadPoolExecutor() as pool:
        return [str(file) for file, found in zip(listed, pool.map(wanted, listed), strict=True) if found]


def _some_files(splits: Splits[Any]) -> list[ImageFile]:
    files = [entry.file for part in (splits.train, splits.val) for entry in part.entries]
    return files[:: -(-len(files) // _HEADERS)]


def turned_notes(splits: Splits[Any], drawn: str) -> list[str]:
    """How many pictures EXIF turns, as far as a look at some of their headers tells; nothing without any."""
    some = _some_files(splits)
    turned = turned_pictures(some)
    if not turned:
        return []
    looked_at = "" if len(some) == len(splits.train) + len(splits.val) else f" of {len(some)} that were looked at"
    return [
        f"{len(turned)}{looked_at} pictures are turned by EXIF, such as {turned[0]}: they are read upright, and their "
        f"{drawn} have to be drawn so (internimage data check lists them)"
    ]


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
