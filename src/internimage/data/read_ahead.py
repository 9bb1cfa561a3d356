"""Reading in threads, ahead of the model."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from internimage.errors import ConfigError, ImageReadError

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


class ReadAhead(Generic[Item, Loaded]):
    """What ``load`` makes of each item, in batches, one batch ahead of whoever iterates.

    Iterating gives, for each batch, pairs of an item and what was loaded, or the error of one that cannot be read.  The
    items may be endless, and may come slowly, as a camera's: a batch is given when its own items are there, while a
    thread waits for the next ones.  An error that the items raise comes after what they gave before, as it is.
    """

    def __init__(self, items: Iterable[Item], load: Callable[[Item], Loaded], batch_size: int) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; expected at least 1")
        self.items = items
        self.load = load
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[tuple[Item, Loaded | ImageReadError]]]:
        workers = min(8, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers, thread_name_prefix="internimage-read") as pool:
            taking = _Taking(iter(self.items), lambda item: pool.submit(self._load, item), self.batch_size)
            # not one of the pool, which would wait for it where the items block for ever
            threading.Thread(target=taking.run, name="internimage-take", daemon=True).start()
            try:
                while (batch := taking.next_batch()).started:
                    yield [(item, future.result()) for item, future in batch.started]
                    taking.room.release()
                if batch.error is not None:
                    raise batch.error
            finally:
                taking.over.set()
                taking.room.release()

    def _load(self, item: Item) -> Loaded | ImageReadError:
        try:
            return self.load(item)
        except ImageReadError as error:
            return error


class _Batch(NamedTuple, Generic[Item, Loaded]):
    """Items of which loading has begun; none at the end, with the error that it came with."""

    started: list[tuple[Item, Future[Loaded | ImageReadError]]]
    error: BaseException | None = None


class _Taking(Generic[Item, Loaded]):
    """Takes items in a thread while there is room, at most one batch beyond the one that is worked on."""

    def __init__(
        self, items: Iterator[Item], start: Callable[[Item], Future[Loaded | ImageReadError]], batch_size: int
    ) -> None:
        self.items, self.start, self.batch_size = items, start, batch_size
        self.room = threading.Semaphore(2)
        self.over = threading.Event()
        self._batches: SimpleQueue[_Batch[Item, Loaded]] = SimpleQueue()

    def next_batch(self) -> _Batch[Item, Loaded]:
        return self._batches.get()

    def run(self) -> None:
        error: BaseException | None = None
        more = True
        while more:
            self.room.acquire()
            if self.over.is_set():
                return
            started: list[tuple[Item, Future[Loaded | ImageReadError]]] = []
            try:
                for item in islice(self.items, self.batch_size):
                    if self.over.is_set():
                        return
                    started.append((item, self.start(item)))
            except BaseException as raised:  # whatever the items raise belongs to whoever iterates
                error = raised
            more = error is None and len(started) == self.batch_size
            if started:
                self._batches.put(_Batch(started))
        self._batches.put(_Batch([], error))
