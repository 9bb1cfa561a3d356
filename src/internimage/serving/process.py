"""A worker process as the server sees it: what it was told, what it answered, and what it still owes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from internimage.errors import RequestError
from internimage.serving.batching import Pending
from internimage.serving.messages import (
    LENGTH,
    Cancel,
    Done,
    Drop,
    Dropped,
    Facts,
    Failed,
    Load,
    Loaded,
    NotLoaded,
    Order,
    Ping,
    Pong,
    Run,
    packed,
    report_in,
)

ENDED = "its worker ended"
"""Why a model could not be loaded by a process that is gone."""

_LOOK = 5.0  # seconds between questions whether it lives
_AHEAD = 2  # batches that a worker has: one in the model, one being read
_END = 5.0  # seconds that a worker has to end


class Watcher(Protocol):
    """Whoever counts what happens to pictures and workers."""

    def batched(self, some: Sequence[Pending]) -> None:
        """Pictures leave the queue together."""

    def failed(self, kind: str) -> None:
        """A picture was not answered."""

    def died(self) -> None:
        """A worker ended that was not to end."""


class WorkerProcess:
    """A process that was started, as the server sees it.

    Attributes:
        facts: of the models that it has.
        failures: why it could not load others.
        pending: pictures that it has not answered, by number.
    """

    def __init__(self, number: int, process: asyncio.subprocess.Process) -> None:
        self.number, self.process = number, process
        self.facts: dict[str, Facts] = {}
        self.failures: dict[str, str] = {}
        self.pending: dict[int, Pending] = {}
        self.room = asyncio.Semaphore(_AHEAD)
        self._gone = False
        self._heard = asyncio.Event()
        self._changing = asyncio.Lock()
        self._batches: list[set[int]] = []
        self._changes: dict[str, asyncio.Future[str | None]] = {}

    async def send(self, order: Order) -> None:
        """Write an order into the process's input.

        Raises:
            ConnectionError: it is gone.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(packed(order))
        await self.process.stdin.drain()

    async def load(self, name: str, place: str) -> str | None:
        """Load a model unless it is there; why that was not possible, or None."""
        async with self._changing:
            return None if name in self.facts else await self._change(Load(name, place))

    async def drop(self, name: str) -> None:
        """Forget a model."""
        async with self._changing:
            await self._change(Drop(name))

    async def _change(self, order: Load | Drop) -> str | None:
        if self._gone:
            return ENDED
        done = self._changes[order.name] = asyncio.get_running_loop().create_future()
        try:
            await self.send(order)
        except ConnectionError:
            return ENDED
        return await done

    async def silent(self, patience: float) -> None:
        """Until it has not answered for so many seconds, those left out in which it loads a model.

        Raises:
            ConnectionError: it is gone.
        """
        while True:
            self._heard.clear()
            await self.send(Ping())
            try:
                async with asyncio.timeout(patience):
                    await self._heard.wait()
            except TimeoutError:
                if not self._changing.locked():
                    return
                await self._heard.wait()
            await asyncio.sleep(_LOOK)

    async def read(self, watcher: Watcher) -> None:
        """Take reports until the process ends."""
        pipe = self.process.stdout
        assert pipe is not None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = LENGTH.unpack(await pipe.readexactly(LENGTH.size))
                self._take(report_in(await pipe.readexactly(length)), watcher)

    def _take(self, report: object, watcher: Watcher) -> None:
        if isinstance(report, Done | Failed):
            if (one := self.pending.pop(report.id, None)) is not None and not one.outcome.done():
                one.outcome.set_result(report)
            if isinstance(report, Failed):
                watcher.failed(report.kind)
            self._finished(report.id)
        elif isinstance(report, Loaded):
            self.facts[report.facts.name] = report.facts
            self._changed(report.facts.name, None)
        elif isinstance(report, NotLoaded):
            self._changed(report.name, report.message)
        elif isinstance(report, Dropped):
            self._changed(report.name, None)
        elif isinstance(report, Pong):
            self._heard.set()

    def _changed(self, name: str, failure: str | None) -> None:
        if not (change := self._changes.pop(name)).done():  # whoever asked may be gone
            change.set_result(failure)

    def _finished(self, number: int) -> None:
        for batch in self._batches:
            batch.discard(number)
        for _ in [batch for batch in self._batches if not batch]:
            self.room.release()
        self._batches = [batch for batch in self._batches if batch]

    async def run(self, model: str, some: Sequence[Pending]) -> None:
        """Hand pictures over; ``room`` was acquired for them."""
        self.pending |= {one.job.id: one for one in some}
        self._batches.append({one.job.id for one in some})
        for one in some:
            one.outcome.add_done_callback(partial(self._forget, one))
        await self.send(Run(model, [one.job for one in some]))

    def _forget(self, one: Pending, outcome: asyncio.Future[Done | Failed]) -> None:
        """Of a picture that nobody wants any more: the worker leaves it out if it can."""
        if not outcome.cancelled() or self.pending.pop(one.job.id, None) is None:
            return
        if self.process.stdin is not None:
            self.process.stdin.write(packed(Cancel([one.job.id])))
        self._finished(one.job.id)

    def end(self, refusal: RequestError) -> None:
        """It is gone: give what it has not answered the same answer."""
        self._gone = True
        for one in list(self.pending.values()):
            if not one.outcome.done():
                one.outcome.set_exception(refusal)
        for name in list(self._changes):
            self._changed(name, ENDED)

    async def ended(self) -> None:
        """Wait for its end, which its closed input brings about."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(_END):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
