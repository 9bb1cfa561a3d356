"""Pictures, videos and detected boxes into an index, batch by batch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from internimage.data.read_ahead import ReadAhead
from internimage.errors import ConfigError, ImageReadError, TrainingError
from internimage.images import ImageSource
from internimage.images.inputs.video import library
from internimage.multimodal.search.encoders.encoder import Encoder, load_encoder
from internimage.multimodal.search.encoders.ours import lasting_name
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
    batch_size: int = 8
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
            paths = {one.path for one in entries}
            store.put(entries, vectors, fresh=paths.isdisjoint(known))
            good |= paths
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


class _Batch(NamedTuple):
    """Entries with their vectors (N, D), and why others are none, a sentence each."""

    entries: list[Entry]
    vectors: Array
    faults: list[str]


class _Work:
    """Reads, detects and encodes."""

    def __init__(self, about: About, encoder: Encoder, settings: IndexSettings) -> None:
        self.about, self.encoder, self.size = about, encoder, settings.batch_size
        self.detector = None if about.detector is None else _detector(about.detector, settings)

    def batches(self, paths: Sequence[str]) -> Iterator[_Batch]:
        """Entries, and why others are none; all of a file are in one batch."""
        pictures = [path for path in paths if not is_video_file(path)]
        for batch in ReadAhead(pictures, read_picture, self.size):
            entries, vectors, faults = self._encoded(
                [read for _, read in batch if not isinstance(read, ImageReadError)]
            )
            yield _Batch(
                entries, vectors, [str(read) for _, read in batch if isinstance(read, ImageReadError)] + faults
            )
        for path in paths:
            if is_video_file(path):
                yield self._video(path)

    def _video(self, path: str) -> _Batch:
        library()  # without PyAV no video can be read: that is no fault of this one
        parts, broken = [], []
        frames = read_frames(path, self.about.seconds)
        more = True
        while more:
            batch: list[Read] = []
            try:
                for read in islice(frames, self.size):
                    batch.append(read)
                more = len(batch) == self.size
            except ImageReadError as error:
                broken, more = [str(error)], False
            parts.append(self._encoded(batch))
        whole = self._together(parts)
        if broken and whole.entries:
            broken = [f"{broken[0]}; what comes before that is indexed"]
        return whole._replace(faults=broken + whole.faults)

    def _encoded(self, reads: Sequence[Read]) -> _Batch:
        """The pictures and the boxes in them."""
        boxes, faults = self._boxes(reads)
        every = [*reads, *boxes]
        parts = [self._vectors(every[at : at + self.size]) for at in range(0, len(every), self.size)]
        return self._together([*parts, self._nothing(faults)])

    def _vectors(self, reads: Sequence[Read]) -> _Batch:
        try:
            return _Batch([entry for _, entry in reads], self.encoder.pictures([picture for picture, _ in reads]), [])
        except ImageReadError as error:  # a shape that the model does not take
            if len(reads) == 1:
                return self._nothing([f"{reads[0][1].path}: {error}"])
            return self._together([self._vectors([one]) for one in reads])

    def _nothing(self, faults: list[str]) -> _Batch:
        return _Batch([], np.zeros((0, self.encoder.width), np.float32), faults)

    def _together(self, parts: Sequence[_Batch]) -> _Batch:
        entries, vectors, faults = zip(self._nothing([]), *parts, strict=True)
        return _Batch(list(chain(*entries)), np.concatenate(vectors), list(chain(*faults)))

    def _boxes(self, reads: Sequence[Read]) -> tuple[list[Read], list[str]]:
        """What the detector finds in pictures, cut out, and in which it cannot look."""
        boxes: dict[str, Read] = {}  # by id: what is found twice is one
        faults: list[str] = []
        if self.detector is None or not reads:
            return [], []
        found = self.detector.stream([ImageSource(entry.path, picture) for picture, entry in reads])
        for (picture, entry), (_, objects) in zip(reads, found, strict=True):
            if isinstance(objects, ImageReadError):
                faults.append(f"no boxes: {objects}")
                continue
            for shape in objects.shapes(self.about.min_score):
                box = replace(
                    entry, kind="box", box=shape.box, label=objects.names[shape.label], score=float(shape.score)
                )
                x1, y1, x2, y2 = shape.box
                left, top = max(0, math.floor(x1)), max(0, math.floor(y1))
                right, bottom = min(entry.width, math.ceil(x2)), min(entry.height, math.ceil(y2))
                if left < right and top < bottom:
                    boxes[box.id] = picture.crop((left, top, right, bottom)), box
        return list(boxes.values()), faults


def _prepare(place: str, settings: IndexSettings) -> _Work:
    """What works for an index, which need not be there yet; nothing is written."""
    store = find(place)
    if store is None and settings.model is None:
        raise ConfigError(f"there is no index at {place} yet; a new one needs --model NAME")
    with contextlib.nullcontext() if store is None else contextlib.closing(store):
        encoder = load_encoder(settings.model or (store.about.model if store else ""), settings.device)
        made: dict[str, Any] = {"model": encoder.name, "weights": encoder.weights, "width": encoder.width}
        detector = None if settings.detector is None else lasting_name(settings.detector)
        options: dict[str, Any] = {"detector": detector, "seconds": settings.seconds, "min_score": settings.min_score}
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
