"""Pictures, videos and detected boxes into an index, batch by batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from internimage.data.read_ahead import ReadAhead
from internimage.errors import ConfigError, ImageReadError, TrainingError
from internimage.images import ImageSource
from internimage.images.inputs.video import library
from internimage.multimodal.search.encoders.encoder import Encoder, load_encoder
from internimage.multimodal.search.entries import Array, Entry, Filter, Stamp
from internimage.multimodal.search.reading import is_video_file, list_files, read_frames, read_picture, vanished
from internimage.multimodal.search.store import About, check_same, find, find_or_create, is_remote
from internimage.training.state import RunLock
from internimage.writing import counted

_TIDY_EVERY = 256  # changes, each of which leaves small files

Read = tuple[Image.Image, Entry]


@dataclass(frozen=True)
class IndexSettings:
    """How an album becomes an index; what is None is as the index has it, or usual.

    Attributes:
        model: see :func:`internimage.multimodal.search.encoders.encoder.load_encoder`; a new index needs one.
        detector: a detector of ours, by name or folder: its boxes become entries too.
        seconds: of videos, a frame is taken every so many; usually 1.
        min_score: of boxes; usually .3.
        batch_size: pictures that are read, encoded and written together.
        device: auto, cpu, cuda ...
    """

    model: str | None = None
    detector: str | None = None
    seconds: float | None = None
    min_score: float | None = None
    batch_size: int = 16
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"seconds is {self.seconds}; expected a number above 0")
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise ConfigError(f"min_score is {self.min_score}; expected 0 to 1")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}; expected 1 or more")


@dataclass(frozen=True)
class Indexed:
    """What became of an album; as text one line.

    Attributes:
        place: of the index.
        added, changed, unchanged: files; those that changed were read again.
        unreadable: why a file was left out, or a video from where on, a sentence each.
        vanished: files of the index that are not there any more.
        pruned: whether their entries were taken out.
        entries: of the whole index.
    """

    place: str
    added: int
    changed: int
    unchanged: int
    unreadable: tuple[str, ...]
    vanished: tuple[str, ...]
    pruned: bool
    entries: int

    def __str__(self) -> str:
        total = "1 entry" if self.entries == 1 else f"{self.entries} entries"
        parts = [f"{counted(self.added, 'file')} added", f"{self.changed} read again", f"{self.unchanged} unchanged"]
        return f"{self.place}: {', '.join(parts)}; {total} in all"


def index_album(
    sources: Sequence[str | Path],
    place: str,
    settings: IndexSettings,
    *,
    prune: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Indexed:
    """Index pictures and videos; files that have not changed since are left alone.

    Each batch of pictures and each video is one change: who is stopped, however hard, loses what was not finished, and
    the next run goes on from there.

    Args:
        sources: see :func:`internimage.multimodal.search.reading.list_files`.
        place: see :func:`internimage.multimodal.search.store.open_store`; it is made if it is not there.
        settings: see there.
        prune: take out the entries of files that are not there any more.
        progress: is told how many files of how many are done.

    Raises:
        ConfigError: the index was made in another way, a new one has no model, or another process writes it.
        ImageReadError: there is nothing to index.
        FileWriteError: the index cannot be written.  What was finished stays.
    """
    files = list_files(sources)
    work = _prepare(place, settings)
    with only_writer(place), contextlib.closing(find_or_create(place, work.about)) as store:
        known = store.known()
        gone = vanished(known, files, sources)
        there = sorted(set(files) - set(gone))
        todo = [path for path in there if path not in known or known[path] != _stamp(path)]
        unreadable: list[str] = []
        good: set[str] = set()
        for number, (entries, vectors, faults) in enumerate(work.batches(todo), 1):
            store.put(entries, vectors)
            good |= {one.path for one in entries}
            unreadable += faults
            progress(min(len(good) + len(unreadable), len(todo)), len(todo))
            if number % _TIDY_EVERY == 0:
                store.tidy()
        if prune and gone:
            store.delete(Filter(paths=tuple(gone)))
        if todo or (prune and gone):
            store.tidy()
        changed = len(good & set(known))
        counts = (len(good) - changed, changed, len(there) - len(todo))
        return Indexed(place, *counts, tuple(unreadable), tuple(gone), prune, store.count())


class _Work:
    """Reads, detects and encodes."""

    def __init__(self, about: About, encoder: Encoder, settings: IndexSettings) -> None:
        self.about, self.encoder, self.size = about, encoder, settings.batch_size
        self.detector = None if about.detector is None else _detector(about.detector, settings)

    def batches(self, paths: Sequence[str]) -> Iterator[tuple[list[Entry], Array, list[str]]]:
        """Entries with their vectors, and why others are none; all of a file are in one batch."""
        pictures = [path for path in paths if not is_video_file(path)]
        for batch in ReadAhead(pictures, read_picture, self.size):
            good = [read for _, read in batch if not isinstance(read, ImageReadError)]
            yield *self._encoded(good), [str(read) for _, read in batch if isinstance(read, ImageReadError)]
        for path in paths:
            if is_video_file(path):
                yield self._video(path)

    def _video(self, path: str) -> tuple[list[Entry], Array, list[str]]:
        library()  # without PyAV no video can be read: that is no fault of this one
        entries: list[Entry] = []
        vectors = [np.zeros((0, self.encoder.width), np.float32)]
        faults = []
        frames = read_frames(path, self.about.seconds)
        more = True
        while more:
            batch: list[Read] = []
            try:
                batch.extend(islice(frames, self.size))
                more = len(batch) == self.size
            except ImageReadError as error:
                faults, more = [str(error)], False
            own, rows = self._encoded(batch)
            entries += own
            vectors.append(rows)
        if faults and entries:
            faults = [f"{faults[0]}; {counted(len(entries), 'frame or box')} before that stand in the index"]
        return entries, np.concatenate(vectors), faults

    def _encoded(self, batch: Sequence[Read]) -> tuple[list[Entry], Array]:
        """The pictures and the boxes in them."""
        reads = [*batch, *self._boxes(batch)]
        parts = [[picture for picture, _ in reads[at : at + self.size]] for at in range(0, len(reads), self.size)]
        rows = [self.encoder.pictures(part) for part in parts]
        return [entry for _, entry in reads], np.concatenate([np.zeros((0, self.encoder.width), np.float32), *rows])

    def _boxes(self, batch: Sequence[Read]) -> Iterator[Read]:
        """What the detector finds in pictures, cut out."""
        if self.detector is None or not batch:
            return
        found = self.detector.stream([ImageSource(entry.path, picture) for picture, entry in batch])
        for (picture, entry), (_, objects) in zip(batch, found, strict=True):
            if isinstance(objects, ImageReadError):  # a shape that the detector does not take: no boxes
                continue
            for shape in objects.shapes(self.about.min_score):
                x1, y1, x2, y2 = shape.box
                inside = (
                    max(0, int(x1)),
                    max(0, int(y1)),
                    min(entry.width, -int(-x2 // 1)),
                    min(entry.height, -int(-y2 // 1)),
                )
                if inside[0] < inside[2] and inside[1] < inside[3]:
                    label = objects.names[shape.label]
                    yield (
                        picture.crop(inside),
                        replace(entry, kind="box", box=shape.box, label=label, score=shape.score),
                    )


def _prepare(place: str, settings: IndexSettings) -> _Work:
    """What works for an index, which need not be there yet; nothing is written."""
    store = find(place)
    if store is None and settings.model is None:
        raise ConfigError(f"there is no index at {place} yet; a new one needs --model NAME")
    with contextlib.nullcontext() if store is None else contextlib.closing(store):
        encoder = load_encoder(settings.model or (store.about.model if store else ""), settings.device)
        made: dict[str, Any] = {"model": encoder.name, "weights": encoder.weights, "width": encoder.width}
        options = {"detector": settings.detector, "seconds": settings.seconds, "min_score": settings.min_score}
        given = {name: value for name, value in options.items() if value is not None}
        about = replace(About(**made) if store is None else store.about, **made, **given)
        if store is not None:
            check_same(store, about)
    return _Work(about, encoder, settings)


def _detector(name: str, settings: IndexSettings) -> Any:
    from internimage.inference.predictor import Predictor
    from internimage.results.detections import Detections

    predictor = Predictor(name, device=settings.device, batch_size=settings.batch_size)
    if predictor.spec.result is not Detections:
        raise ConfigError(f"{name} is a {predictor.spec.model_noun}; expected a detector, whose boxes become entries")
    return predictor


def _stamp(path: str) -> Stamp | None:
    """None for a file that is not there: reading it says so."""
    try:
        return Stamp.of(path)
    except OSError:
        return None


@contextlib.contextmanager
def only_writer(place: str) -> Iterator[None]:
    """Within it no other process writes an index that is a folder here; others have transactions of their own."""
    folder = Path(place)
    if is_remote(place) or place.startswith("qdrant:"):
        yield
        return
    if folder.is_dir() and any(folder.iterdir()) and not (folder / ".lock").exists():
        raise ConfigError(f"{place} is a folder with other files; expected an index, or a folder that is not there yet")
    try:
        lock = RunLock(folder)
    except TrainingError as error:
        with contextlib.suppress(OSError):
            if holder := (folder / ".lock").read_text():
                raise ConfigError(f"{place} is being written by {holder}; wait for its end or stop it") from error
        raise ConfigError(f"{place} cannot be written into") from error
    try:
        yield
    finally:
        lock.release()
