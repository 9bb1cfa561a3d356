"""What checks of all kinds of data have in common: reading once, the same pictures twice, findings as text."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from internimage.data.formats.sets.known import shortfall, usual
from internimage.data.left_out import UNUSABLE, LeftOut, is_much
from internimage.data.samples import ImageFile, Part
from internimage.data.splits import Splits
from internimage.data.twins import twin_groups
from internimage.errors import ImageReadError
from internimage.images import FitPreprocessing, ImageSource, Preprocessing, read_image, show_image
from internimage.images.decoding import Header
from internimage.images.inputs.pages import first_pages_note, has_several_pages
from internimage.images.reader import open_picture, read_header
from internimage.settings.data import DataOptions
from internimage.settings.depth import WHOLE

_HEADERS = 2_000  # of pictures that are looked at before a run
_PIXELS = 20  # deep ones that are read before a run
_SHOWN = 10  # findings of a kind
_QUARTER = 64  # of 256
_FLAT = 0.98  # of the pixels
_SCALING = "train with --deep-range LOW HIGH or --deep-percentiles"


@dataclass
class PartFindings:
    """What can be said of a part of any data set.

    Attributes:
        notes: what was understood differently than written.
        left_out: what training and evaluation do not use, a line for each reason.
        twins: groups of files that show the same picture.
        dark: deep pictures that stay below a quarter of their range.
        floating: pictures of floating-point numbers, whose range training has to be told.
        channels: how many pictures have how many channels, where not all have the usual ones; 3 for grey and RGB, with
            or without alpha.
        mixed: whether the data have pictures that no model reads together.
        turned: pictures that their EXIF data turn, as they are read; no error, if what is drawn on them was drawn on
            the turned picture.
        paged: files of several pages, of which the first is read.
        much: whether more is left out than training allows unasked.
        unusable: entries that cannot be used at all.
        incomplete: that fewer pictures are there than a known set has; no error, for a part may be meant.
    """

    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    twins: list[list[str]] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)
    dark: list[str] = field(default_factory=list)
    floating: list[str] = field(default_factory=list)
    channels: dict[int, int] = field(default_factory=dict)
    mixed: bool = False
    paged: list[str] = field(default_factory=list)
    much: bool = False
    unusable: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)

    @property
    def errors(self) -> bool:
        """Whether training would stop or learn from a part of the data only."""
        return self.much or self.mixed or bool(self.unusable or self.floating)

    def lines(self) -> list[str]:
        """The findings as text."""
        kinds = {
            "cannot be used": self.unusable,
            "same picture": [", ".join(group) for group in self.twins],
            "turned by EXIF (are its boxes and masks?)": self.turned,
            f"16 bits, of which a quarter is used ({_SCALING})": self.dark,
            f"floating-point numbers, training stops without their range ({_SCALING})": self.floating,
            "has several pages: the first is read, or with --channels N the N pages of a TIFF as channels": self.paged,
        }
        others = [
            f"  {count} pictures have {number} channels: train with --channels {number}"
            for number, count in self.channels.items()
            if number != 3 or self.mixed
        ]
        if self.mixed:
            others.append("  cannot be trained on together: pictures of different numbers of channels")
        return [f"  {line}" for line in (*self.incomplete, *self.left_out)] + others + kind_lines(kinds)


def look_over(
    parts: Mapping[str, Part], options: DataOptions, follow: Callable[[Iterable[Any]], Iterable[Any]] = iter
) -> tuple[dict[str, PartFindings], dict[str, list[tuple[str, str]]]]:
    """Findings about each part, and pairs of files of the training part and of another that show one picture.

    Args:
        parts: read so that bad entries are dropped.
        options: how training would read.
        follow: wraps the pictures that are looked at, for progress.
    """
    files = [(name, file) for name, part in parts.items() for file in part.files]
    groups = [[files[i] for i in group] for group in twin_groups([file for _, file in files], follow) if len(group) > 1]
    looked = {name: headers(part.files) for name, part in parts.items()}
    numbers = {header.channels for known in looked.values() for header in known.values()}
    mixed = bool(numbers - {3, 4}) and len(numbers) > 1  # the fourth may be left out
    found, leaks = {}, {name: list[tuple[str, str]]() for name in parts if "train" in parts and name != "train"}
    for name, part in parts.items():
        usable = part.usable(options)
        known = looked[name]
        same = [[str(file) for where, file in group if where == name] for group in groups]
        found[name] = PartFindings(
            list(part.notes),
            [_told(one, part) for one in usable.left_out if one.reason != UNUSABLE],
            [group for group in same if len(group) > 1],
            [str(file) for file, header in known.items() if header.turn != 1],
            [str(file) for file in dark_pictures(file for file, one in known.items() if one.deep and not one.floating)],
            [str(file) for file, header in known.items() if header.floating],
            dict(Counter(header.channels for header in known.values())) if numbers != {3} else {},
            mixed,
            paged_pictures(part.files),
            is_much(usable.left_out),
            [text for one in usable.left_out if one.reason == UNUSABLE for text in one.names],
            shortfall(name, part),
        )
        if name in leaks:
            for group in groups:
                first = next((str(file) for where, file in group if where == "train"), None)
                leaks[name] += [(first, str(file)) for where, file in group if where == name and first is not None]
    return found, leaks


def _told(one: LeftOut, part: Part) -> str:
    reason = usual(part, "beside") if one.unit == "files" else None
    return str(one) if reason is None else f"{one}; usual for {part.format}: {reason}"


def headers(files: Iterable[ImageFile]) -> dict[ImageFile, Header]:
    """The headers of pictures that are files of their own and can be read."""

    def look(file: ImageFile) -> Header | None:
        try:
            return read_header(file) if isinstance(file, Path) else None
        except ImageReadError:
            return None

    listed = list(files)
    with ThreadPoolExecutor() as pool:
        return {file: found for file, found in zip(listed, pool.map(look, listed), strict=True) if found is not None}


def dark_pictures(files: Iterable[ImageFile]) -> dict[ImageFile, int]:
    """Of deep pictures those that stay below a quarter of 16 bits, with their brightest high byte."""

    def brightest(file: ImageFile) -> int:
        try:
            channels = read_header(file).channels if isinstance(file, Path) else 3
            return int(np.asarray(read_image(file, channels)).max())
        except ImageReadError:  # such as floating point, whose range has to be said anyway
            return 255

    listed = list(files)
    with ThreadPoolExecutor() as pool:
        looks = zip(listed, pool.map(brightest, listed), strict=True)
        return {file: found for file, found in looks if found < _QUARTER}


def paged_pictures(files: Iterable[ImageFile], channels: int = 3) -> list[str]:
    """Names of the files that have pages beyond those that are read, by their headers."""
    listed = [ImageSource(str(file), file) for file in files if isinstance(file, Path)]
    with ThreadPoolExecutor() as pool:
        looks = zip(listed, pool.map(lambda file: has_several_pages(file, channels), listed), strict=True)
        return [file.name for file, found in looks if found]


def pages_notes(splits: Splits[Any], preprocessing: Preprocessing | FitPreprocessing) -> list[str]:
    """That of some files one page is read, as far as a look at some of their headers tells; nothing without any."""
    files = [file for part in (splits.train, splits.val) for file in part.files]
    paged = paged_pictures(some_of(files), preprocessing.channels)
    return [first_pages_note(paged)] if paged else []


def pixel_notes(files: Sequence[ImageFile], preprocessing: Preprocessing | FitPreprocessing) -> list[str]:
    """Channels that are not read, how deep pixels are, and whether that leaves most of them dark.

    As far as a look at some pictures tells.
    """
    known = headers(some_of(files))
    notes = [
        f"pictures of {number} channels, such as {file}, for a model of {preprocessing.channels}; train one with "
        f"--channels {number}"
        for number, file in {header.channels: file for file, header in known.items()}.items()
        if number not in (3, preprocessing.channels)
    ]
    return notes + _depth_notes([file for file, header in known.items() if header.deep], preprocessing)


def _depth_notes(deep: Sequence[ImageFile], preprocessing: Preprocessing | FitPreprocessing) -> list[str]:
    if not deep:
        return []
    looked_at = deep[:: -(-len(deep) // _PIXELS)]
    if preprocessing.depth != WHOLE:
        return [f"pictures of more than 8 bits: {preprocessing.depth}", *_outside(looked_at, preprocessing)]
    dark = dark_pictures(looked_at)
    if 2 * len(dark) <= len(looked_at):
        return []
    most = max(dark.values())
    bits = (most * 256 + 255).bit_length()
    return [
        f"{len(dark)} of {len(looked_at)} pictures of 16 bits that were looked at, such as {next(iter(dark))}, use a "
        f"quarter of their range or less: they become up to {most + 1} grey levels; pass --deep-range 0 "
        f"{2**bits - 1} ({bits} bits) or --deep-percentiles 1 99"
    ]


def _outside(files: Sequence[ImageFile], preprocessing: Preprocessing | FitPreprocessing) -> list[str]:
    """That a range leaves nothing but black and white of most of the pictures."""

    def flat(file: ImageFile) -> bool:
        try:
            pixels = np.asarray(preprocessing.read(ImageSource(str(file), file)))
        except ImageReadError:  # said when it is read for good
            return False
        return float(((pixels == 0) | (pixels == 255)).mean()) > _FLAT

    with ThreadPoolExecutor() as pool:
        named = [file for file, found in zip(files, pool.map(flat, files), strict=True) if found]
    if 2 * len(named) <= len(files):
        return []
    return [
        f"{len(named)} of {len(files)} of them that were looked at, such as {named[0]}, become black and white, with "
        "nothing between: their values lie elsewhere; pass their own range or --deep-percentiles 1 99"
    ]


def some_of(files: Sequence[ImageFile]) -> Sequence[ImageFile]:
    """Evenly spread ones, as many as are looked at before a run."""
    return files[:: -(-len(files) // _HEADERS)] if files else files


def turned_notes(splits: Splits[Any], drawn: str) -> list[str]:
    """How many pictures EXIF turns, as far as a look at some of their headers tells; nothing without any."""
    some = some_of([file for part in (splits.train, splits.val) for file in part.files])
    turned = [str(file) for file, header in headers(some).items() if header.turn != 1]
    if not turned:
        return []
    looked_at = "" if len(some) == len(splits.train) + len(splits.val) else f" of {len(some)} that were looked at"
    return [
        f"{len(turned)}{looked_at} pictures are turned by EXIF, such as {turned[0]}: they are read upright, and their "
        f"{drawn} have to be drawn so (internimage data check lists them)"
    ]


def fingerprint(file: ImageFile) -> tuple[str, tuple[int, int]] | ImageReadError:
    """A digest of a picture's pixels, and its (width, height); of deep pixels and other channels, of the file."""
    try:
        image, header = show_image(file), read_header(file)
        if header.deep or header.channels != 3:  # of which people are shown a part
            with open_picture(file) as stored:
                return hashlib.sha256(stored.read()).hexdigest(), image.size
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
