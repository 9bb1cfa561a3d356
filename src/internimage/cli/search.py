"""internimage search"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg, subcommand

from internimage.cli.common import Bar, MaxPixels, print_json, report_failures

if TYPE_CHECKING:
    from datetime import datetime

_INDEX = (
    "A folder; s3://BUCKET/ALBUM, gs:// or az:// with credentials in the environment; "
    "qdrant:http://HOST:6333/ALBUM, a Qdrant server."
)
Place = Annotated[Positional[str], arg(metavar="INDEX", help=_INDEX)]


@dataclass(frozen=True)
class Index:
    """Index an album: pictures, videos (a frame each second), with --detector also the boxes that it finds.

    $ internimage search index photos/ --model transformers:openai/clip-vit-base-patch32

    $ internimage search index photos/ clips/*.mp4 --index clothes --model internimage_atto_clothing_128

    Run it again to add what is new: files that have not changed are left alone. What is stopped half-way goes on from
    there. The index remembers how it was made, so the options are needed once.
    """

    sources: Annotated[
        Positional[tuple[str, ...]],
        arg(metavar="PATH...", help="Files, folders or quoted patterns.", help_behavior_hint="(required)"),
    ]
    index: Annotated[str, arg(metavar="INDEX", help=_INDEX)] = "album-index"
    model: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(required for a new index)")] = None
    """What compares pictures: transformers:NAME_OR_FOLDER (CLIP, SigLIP) and open_clip:ARCHITECTURE:WEIGHTS also know
    words; a model of ours by name or folder compares pictures alone."""
    detector: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """A detector by name or folder: each box that it finds becomes an entry, so that a hit points into the picture."""
    min_score: Annotated[float | None, arg(metavar="SHARE", help_behavior_hint="(default: 0.3)")] = None
    """With --detector: boxes of at least this score."""
    seconds: Annotated[float | None, arg(metavar="S", help_behavior_hint="(default: 1)")] = None
    """Of videos, take a frame every so many seconds."""
    prune: FlagCreatePairsOff[bool] = False
    """Take out what was indexed from these folders and is not there any more; it is named in any case."""
    approximate: FlagCreatePairsOff[bool] = False
    """From 100,000 entries on: build an approximate index, and keep it if it finds 95 % of what exact search finds."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    batch_size: int = 8
    """Pictures that are read, encoded and written together."""
    max_pixels: MaxPixels = None

    def run(self) -> int:
        from internimage.errors import ConfigError
        from internimage.registry import SEARCH, resolve

        if not self.sources:
            raise ConfigError("no picture given; name files, folders or quoted patterns")
        settings = resolve(SEARCH["settings"])(
            self.model, self.detector, self.seconds, self.min_score, self.batch_size, self.device
        )
        done = resolve(SEARCH["index"])(self.sources, self.index, settings, prune=self.prune, progress=Bar("indexing"))
        for line in done.unreadable:
            print(f"internimage: {line}", file=sys.stderr)
        for path in done.vanished:
            gone = "taken out" if done.pruned else "still in the index (--prune takes it out)"
            print(f"internimage: {path} is not there any more: {gone}", file=sys.stderr)
        print(done)
        if self.approximate:
            print(resolve(SEARCH["approximate"])(self.index))
        return report_failures(list(done.unreadable), done.added + done.changed + len(done.unreadable))


@dataclass(frozen=True)
class Query:
    """Ask an index in words or with a picture.

    $ internimage search query album-index "a red car at night" --sheet found.png

    $ internimage search query album-index shoe.jpg --folder photos/2024 --since 2024-05-01

    Several words and pictures together ask for what is like all of them. Each hit is a line: cosine, file, time in a
    video, class and box; frames of a video, copies and near duplicates are one hit.
    """

    index: Place
    asked: Annotated[
        Positional[tuple[str, ...]],
        arg(metavar="WORDS_OR_PICTURE...", help="Quoted words, or a picture's file or address.", help_behavior_hint=""),
    ] = ()
    without: Annotated[tuple[str, ...], arg(metavar="WORDS_OR_PICTURE...", help_behavior_hint="")] = ()
    """What hits should not be like; it is subtracted."""
    entry: Annotated[tuple[str, ...], arg(metavar="ID...", help_behavior_hint="")] = ()
    """Ask with an entry, such as a box that was found; --json shows ids."""
    count: Annotated[int, arg(metavar="N")] = 10
    """Hits."""
    since: Annotated[str | None, arg(metavar="DATE", help_behavior_hint="")] = None
    """Taken on this day (2024-05-01) or at this time (2024-05-01T18:30) or later: EXIF's time, else the file's."""
    until: Annotated[str | None, arg(metavar="DATE", help_behavior_hint="")] = None
    """Taken until the end of this day, or before this time."""
    folder: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """In this folder or below."""
    classes: Annotated[tuple[str, ...], arg(metavar="CLASS...", help_behavior_hint="")] = ()
    """Boxes of these classes alone."""
    min_score: Annotated[float | None, arg(metavar="SHARE", help_behavior_hint="")] = None
    """Boxes of at least this score of the detector alone."""
    kinds: Annotated[tuple[Literal["picture", "box", "frame"], ...], arg(help_behavior_hint="(default: all)")] = ()
    """Whole pictures, boxes in them, frames of videos."""
    same: Annotated[float, arg(metavar="COSINE", help_behavior_hint="(default: 0.99)")] = 0.99
    """Hits that are at least so like each other are one; above 1 for none."""
    json: FlagCreatePairsOff[bool] = False
    """Print the hits as one JSON list."""
    sheet: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write a contact sheet, boxes drawn."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    max_pixels: MaxPixels = None

    def run(self) -> int:
        from internimage.registry import SEARCH, resolve
        from internimage.writing import check_picture_name, save_picture

        if self.sheet is not None:
            check_picture_name(self.sheet)
        since, until = (None if text is None else _time(name, text) for name, text in self._times())
        meant = resolve(SEARCH["filter"])(
            None if since is None else since[0].timestamp(),
            None if until is None else until[1].timestamp(),
            None if self.folder is None else resolve(SEARCH["path"])(self.folder),
            self.classes,
            self.min_score,
            self.kinds,
        )
        asked: dict[str, Any] = {"without": self.without, "entries": self.entry, "count": self.count, "meant": meant}
        hits = resolve(SEARCH["query"])(self.index, self.asked, same=self.same, device=self.device, **asked)
        if self.json:
            print_json([{"rank": rank, **hit.to_dict()} for rank, hit in enumerate(hits, 1)])
        else:
            for rank, hit in enumerate(hits, 1):
                print(f"{rank:3}  {hit}")
        if not hits:
            print("internimage: nothing in the index fits", file=sys.stderr)
        if self.sheet is not None:
            save_picture(resolve(SEARCH["sheet"])(hits, "  ".join(self.asked)), self.sheet)
            print(f"written: {self.sheet}", file=sys.stderr)
        return 0

    def _times(self) -> tuple[tuple[str, str | None], ...]:
        return ("--since", self.since), ("--until", self.until)


@dataclass(frozen=True)
class Show:
    """Show how an index was made and what it holds.

    $ internimage search show album-index
    """

    index: Place
    json: FlagCreatePairsOff[bool] = False
    """Print everything as one JSON object."""

    def run(self) -> int:
        from internimage.registry import SEARCH, resolve

        shown = resolve(SEARCH["show"])(self.index)
        if self.json:
            print_json(shown)
            return 0
        entries, folders = shown.pop("entries"), shown.pop("folders")
        for name, value in shown.items():
            print(f"{name.replace('_', ' '):12} {value}")
        print(f"{'entries':12} " + ", ".join(f"{kind} {count}" for kind, count in entries.items()))
        for folder, count in sorted(folders.items()):
            print(f"{count:8} in {folder}")
        return 0


@dataclass(frozen=True)
class Delete:
    """Take files, or all below folders, out of an index. The files themselves stay.

    $ internimage search delete album-index photos/old photos/blurred.jpg
    """

    index: Place
    paths: Annotated[Positional[tuple[str, ...]], arg(metavar="PATH...", help="Files and folders, there or not.")]

    def run(self) -> int:
        from internimage.errors import ConfigError
        from internimage.registry import SEARCH, resolve

        if not self.paths:
            raise ConfigError("nothing is named; expected files or folders of the index")
        print(resolve(SEARCH["delete"])(self.index, self.paths))
        return 0


@dataclass(frozen=True)
class Search:
    """Find pictures, boxes in them and moments of videos by words or by other pictures.

    $ internimage search index photos/ --model transformers:openai/clip-vit-base-patch32

    $ internimage search query album-index "a red car at night"
    """

    action: (
        Annotated[Index, subcommand("index")]
        | Annotated[Query, subcommand("query")]
        | Annotated[Show, subcommand("show")]
        | Annotated[Delete, subcommand("delete")]
    )

    def run(self) -> int:
        return self.action.run()


def _time(option: str, text: str) -> tuple[datetime, datetime]:
    """When what is written begins and ends: a day, or a moment; by the clock at the place, whatever its zone."""
    from datetime import UTC, datetime, timedelta

    from internimage.errors import ConfigError

    try:
        start = datetime.fromisoformat(text)
        if start.tzinfo is not None:
            raise ValueError(text)
    except ValueError:
        raise ConfigError(
            f"{option} is {text}; expected a day (2024-05-01) or a time without zone (2024-05-01T18:30)"
        ) from None
    start = start.replace(tzinfo=UTC)
    return start, start + timedelta(days=1) if len(text) <= len("2024-05-01") else start
