"""Frames with lanes and traffic elements: OpenLane-V2's records as a data set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import overload

from internimage.data.formats.documents import read_json
from internimage.data.left_out import BadEntries, LeftOut
from internimage.data.samples import ImageFile, Measured
from internimage.driving.data import openlane
from internimage.driving.data.frames import Frame, FrameSource, ListedFrames
from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.errors import ConfigError, DataError
from internimage.images import ImageSource
from internimage.settings.data import DataOptions
from internimage.writing import counted

EXPECTED = "OpenLane-V2's records (train/SEGMENT/info/TIMESTAMP.json with train/SEGMENT/image/CAMERA/TIMESTAMP.jpg)"
_LIST = "data_dict_subset_*.json"
_MOST = 2**28  # bytes of a list


@dataclass(frozen=True, eq=False)
class Records(Sequence[Frame]):
    """Frames that are read when they are asked for.

    Attributes:
        root: of the data.
        files: the records, those of a segment one after the other, sorted by time.
    """

    root: Path
    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, place: int) -> Frame: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Frame, ...]: ...
    def __getitem__(self, place: int | slice) -> Frame | tuple[Frame, ...]:
        if isinstance(place, slice):
            return tuple(self[number] for number in range(*place.indices(len(self))))
        here = range(len(self))[place]
        before = self.files[here - 1] if here else None
        follows = before is not None and before.parent == self.files[here].parent
        previous = openlane.token_of(before) if follows and before is not None else None
        return openlane.read_frame(self.root, self.files[here], previous)[0]


@dataclass(frozen=True)
class LaneFrames(ListedFrames):
    """Frames with what is true of lanes and traffic elements; classes are what these may say.

    Attributes:
        root: of the data.
        records: the file of each frame.
    """

    root: Path = Path()
    records: tuple[Path, ...] = field(default=(), repr=False)

    @cached_property
    def numbers(self) -> dict[str, int]:
        return {openlane.token_of(file): number for number, file in enumerate(self.records)}

    @cached_property
    def _starts(self) -> dict[str, int]:
        starts: dict[str, int] = {}
        for number, file in enumerate(self.records):
            starts.setdefault(openlane.segment_of(file), number)
        return starts

    @cached_property
    def _pictures(self) -> list[dict[str, Path]]:
        return [openlane.read_pictures(self.root, file) for file in self.records]

    @property
    def files(self) -> Sequence[ImageFile]:
        """Of the first camera of each frame."""
        return [next(iter(pictures.values())) for pictures in self._pictures]

    @property
    def channels(self) -> Sequence[tuple[str, ...]]:
        return [tuple(pictures) for pictures in self._pictures]

    def graph_of(self, entry: Frame) -> LaneGraph:
        """What is true of a frame.

        Raises:
            DataError: nobody says.
        """
        graph = self.annotated(entry)
        if graph is None:
            file = self.records[self.numbers[entry.token]]
            raise DataError(f"{file} has no annotation; expected a part that has some, such as val")
        return graph

    def annotated(self, entry: Frame) -> LaneGraph | None:
        """The same; None where nobody says."""
        return openlane.read_truth(self.records[self.numbers[entry.token]])

    def measured(self, entry: Frame, size: tuple[int, int]) -> Measured:
        """Its lanes, traffic elements and their pairs."""
        return Measured(openlane.as_measured(self.graph_of(entry)))

    def with_entries(self, entries: Sequence[Frame], name: str) -> LaneFrames:
        return self.chosen([self.numbers[entry.token] for entry in entries], name)

    def chosen(self, numbers: Sequence[int], name: str) -> LaneFrames:
        records = tuple(self.records[number] for number in numbers)
        return replace(self, name=name, records=records, frames=Records(self.root, records))

    def summary(self) -> str:
        """``32 scenes, 128 frames``."""
        return f"{counted(len(self.scenes), 'scene')}, {counted(len(self), 'frame')}"


def read_parts(root: Path, wanted: str | None, options: DataOptions) -> Mapping[str, LaneFrames]:
    """The parts of a data set by name, or the wanted one: what ``data_dict_subset_A.json`` lists, or all that is there.

    Every record is looked at when it is read; with ``bad_entries`` "drop", those that contradict the format are left
    out here.

    Raises:
        DataError: there are none, or a list names records that are not there.
        ConfigError: ``options`` say something of another format.
    """
    plain = DataOptions()
    for name in ("boxes", "crowds"):
        if getattr(options, name) != getattr(plain, name):
            raise ConfigError(f"--{name} {getattr(options, name)} is for objects in pictures; {root} is OpenLane-V2")
    if not openlane.recognise(root):
        raise DataError(f"{root} holds no records of OpenLane-V2; expected {EXPECTED}")
    lists = sorted(root.glob(_LIST))
    if options.reading is None and len(lists) > 1:
        names = ", ".join(_subset(one) for one in lists)
        raise DataError(f"{root} has the subsets {names}; choose one: --reading {_subset(lists[0])}")
    chosen = [one for one in lists if options.reading in (None, _subset(one))]
    if options.reading is not None and not chosen:
        raise ConfigError(f"{root} has no list {_LIST.replace('*', options.reading)}")
    parts = _listed(root, chosen[0]) if chosen else _found(root)
    named = {name: files for name, files in parts.items() if name == wanted} or parts
    return {name: _part(root, name, files, options.bad_entries == "drop") for name, files in named.items()}


def _subset(file: Path) -> str:
    return file.stem.rpartition("_")[2]


def _listed(root: Path, file: Path) -> dict[str, list[Path]]:
    content, parts = read_json(file, largest=_MOST), {}
    if not isinstance(content, dict) or not all(isinstance(one, dict) for one in content.values()):
        raise DataError(f"{file}: expected segments with lists of records, by the name of the part")
    for name, segments in content.items():
        files = [
            root / name / segment / "info" / record for segment in sorted(segments) for record in segments[segment]
        ]
        there = [one for one in files if one.is_file()]
        if there:
            if len(there) < len(files):
                lost = next(one for one in files if not one.is_file())
                raise DataError(f"{file} names {len(files) - len(there)} records that are not there, such as {lost}")
            parts[name] = sorted(files, key=openlane.order_of)
    if not parts:
        raise DataError(f"{file} names no record that is there")
    return parts


def _found(root: Path) -> dict[str, list[Path]]:
    parts = {}
    for part in sorted(path for path in root.iterdir() if path.is_dir()):
        files = [one for one in part.glob("*/info/*.json") if re.fullmatch(r"\d+\.json", one.name)]
        if files:
            parts[part.name] = sorted(files, key=openlane.order_of)
    return {"all": next(iter(parts.values()))} if len(parts) == 1 and "train" not in parts else parts


def _part(root: Path, name: str, files: Sequence[Path], drop: bool) -> LaneFrames:
    left_out: tuple[LeftOut, ...] = ()
    if drop:
        bad, good = BadEntries(), []
        for file in files:
            try:
                openlane.read_frame(root, file)
                good.append(file)
            except DataError as error:
                bad.add("frames", str(error))
        left_out = bad.settle(True, {"frames": len(files)})
        files = good
    records = tuple(files)
    called = f"{root} ({name})"
    return LaneFrames(
        called,
        openlane.ATTRIBUTES,
        Records(root, records),
        "OpenLane-V2",
        left_out,
        listed=True,
        root=root,
        records=records,
    )


def estimate(root: Path) -> int:
    """How many frames there are to train on."""
    try:
        parts = read_parts(root, "train", DataOptions())
    except (OSError, DataError, ConfigError):
        return 0
    return len(parts.get("train") or next(iter(parts.values())))


def frame_sources(text: str) -> Sequence[ImageSource]:
    """The frames of ``FOLDER``, or of one segment or part of it: ``FOLDER#SEGMENT``, ``FOLDER#val``.

    Raises:
        DataError: there is nothing of the kind.
    """
    place, _, name = (text, "", "") if Path(text).expanduser().exists() else text.rpartition("#")
    root = Path(place or text).expanduser()
    parts = read_parts(root, name or None, DataOptions())
    if not name or name in parts:
        chosen = [parts[name]] if name else list(parts.values())
    else:
        chosen = [
            part.chosen([number for number, one in enumerate(part.records) if openlane.segment_of(one) == name], name)
            for part in parts.values()
            if name in part.scenes
        ]
    if not chosen:
        scenes = [scene for part in parts.values() for scene in part.scenes]
        raise DataError(f"{root} has no segment or part {name!r}; it has {', '.join(parts)}, and {scenes[0]} ...")
    sources: list[FrameSource] = [part.source(frame) for part in chosen for frame in part.frames]
    return sources
