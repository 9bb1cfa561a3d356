"""Reading in threads, ahead of the model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from internimage.errors import ConfigError, ImageReadError

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


class ReadAhead(Generic[Item, Loaded]):
    """What ``load`` makes of each item, in batches, one batch ahead of whoever iterates.

    Iterating gives, for each batch, pairs of an item and what was loaded, or the error of one that cannot be read.
    """

    def __init__(self, items: Sequence[Item], load: Callable[[Item], Loaded], batch_size: int) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; expected at least 1")
        self.items = items
        self.load = load
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[tuple[Item, Loaded | ImageReadError]]]:
        workers = min(8, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers, thread_name_prefix="internimage-read") as pool:
            ahead: list[tuple[Item, Future[Loaded | ImageReadError]]] = []
            for start in range(0, len(self.items) + self.batch_size, self.batch_size):
                ready = ahead
                chunk = self.items[start : start + self.batch_size]
                ahead = [(item, pool.submit(self._load, item)) for item in chunk]
                if ready:
                    yield [(item, future.result()) for item, future in ready]

    def _load(self, item: Item) -> Loaded | ImageReadError:
        try:
            return self.load(item)
        except ImageReadError as error:
            return error
