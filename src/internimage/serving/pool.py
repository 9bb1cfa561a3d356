"""The worker processes: started, fed, and started again when they die."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import msgspec

from internimage.errors import ConfigError, RequestError
from internimage.serving.batching import Pending, Waiting
from internimage.serving.messages import (
    LENGTH,
    Answer,
    Cancel,
    Done,
    Drop,
    Dropped,
    Facts,
    Failed,
    Job,
    Load,
    Loaded,
    NotLoaded,
    Order,
    Run,
    packed,
    report_in,
)
from internimage.serving.settings import ServedModel, ServingSettings, WorkerSettings
from internimage.settings.views import DisplayOptions

_AHEAD = 2  # batches that a worker has: one in the model, one being read
_PAUSES = (0.1, 0.5, 2.0, 5.0, 15.0)  # seconds before a worker that died again and again is started again
_END = 5.0  # seconds that a worker has to end


class Watcher(Protocol):
    """Whoever counts what happens to pictures and workers."""

    def batched(self, some: Sequence[Pending]) -> None:
        """Pictures leave the queue together."""

    def failed(self, kind: str) -> None:
        """A picture was not answered."""

    def died(self) -> None:
        """A worker ended that was not to end."""


class Worker:
    """One process, as the server sees it.

    Attributes:
        facts: of the models that it has.
        pending: pictures that it has not answered, by number.
    """

    def __init__(self, number: int, process: asyncio.subprocess.Process) -> None:
        self.number, self.process = number, process
        self.facts: dict[str, Facts] = {}
        self.pending: dict[int, Pending] = {}
        self.room = asyncio.Semaphore(_AHEAD)
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

    async def change(self, order: Load | Drop) -> str | None:
        """Load or drop a model; why that was not possible, or None."""
        done = self._changes[order.name] = asyncio.get_running_loop().create_future()
        await self.send(order)
        return await done

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
            self._changes.pop(report.facts.name).set_result(None)
        elif isinstance(report, NotLoaded):
            self._changes.pop(report.name).set_result(report.message)
        elif isinstance(report, Dropped):
            self._changes.pop(report.name).set_result(None)

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
        """Give what it has not answered the same answer."""
        for one in list(self.pending.values()):
            if not one.outcome.done():
                one.outcome.set_exception(refusal)
        for change in self._changes.values():
            change.set_result("its worker ended")


class Pool:
    """All workers, and the queue that they are fed from.

    Args:
        models: to begin with.
        settings: of the server.
        worker: of each worker.
        watcher: is told what happens.
        say: prints a line for whoever runs the server.

    Attributes:
        known: models by name, also those that are not loaded now.
        wanted: names of those that are to be there.
        failure: why no worker can run; None while all is well.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        settings: ServingSettings,
        worker: WorkerSettings,
        watcher: Watcher,
        say: Callable[[str], None],
    ) -> None:
        self.known = {model.name: model for model in models}
        if len(self.known) < len(models):
            raise ConfigError(
                "two models have the same name; NAME=MODEL gives one another: "
                + ", ".join(f"{one.name}={one.place}" for one in models)
            )
        self.wanted = list(self.known)
        threads = worker.threads or max(1, (os.cpu_count() or 1) // settings.workers)
        self.settings, self._worker = settings, replace(worker, threads=threads)
        self.watcher, self._say = watcher, say
        self.waiting = Waiting(settings.queue, settings.wait_ms / 1000)
        self.workers: dict[int, Worker] = {}
        self.failure: str | None = None
        self._ids = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []

    # What requests ask

    @property
    def ready(self) -> bool:
        """Whether every model that is wanted can be asked."""
        return bool(self.wanted) and all(self.facts(name) is not None for name in self.wanted)

    def facts(self, name: str) -> Facts | None:
        """What is known of a model; None while no worker has it."""
        found = (worker.facts.get(name) for worker in self.workers.values())
        return next((facts for facts in found if facts is not None), None)

    def model(self, name: str | None) -> Facts:
        """The model of this name, or the only or first one.

        Raises:
            RequestError: there is none, or not now.
        """
        if name is None and self.wanted:
            name = self.wanted[0]
        if name is None or name not in self.wanted:
            there = ", ".join(self.wanted) or "none"
            raise RequestError(404, "unknown_model", f"no model is called {name!r}; there are: {there}")
        if (facts := self.facts(name)) is None:
            message = self.failure or f"{name} is being loaded; try again in a second"
            raise RequestError(503, "not_ready", message, {"Retry-After": "1"})
        return facts

    def put(
        self, model: str, pictures: Sequence[tuple[str, bytes]], answer: Answer, shown: DisplayOptions
    ) -> list[Pending]:
        """Let pictures (name and bytes) wait for their answers.

        Raises:
            RequestError: there is no room.
        """
        loop = asyncio.get_running_loop()
        some = [
            Pending(
                model,
                Job(next(self._ids), content, name, answer, shown.topk, shown.score_threshold),
                loop.create_future(),
            )
            for name, content in pictures
        ]
        self.waiting.put(some)
        return some

    # Models that come and go

    async def load(self, name: str) -> None:
        """Load a model that was named at the start.

        Raises:
            RequestError: it was not, or it cannot be loaded.
        """
        if name not in self.known:
            raise RequestError(404, "unknown_model", f"no model called {name!r} was named when the server was started")
        for worker in list(self.workers.values()):
            if name not in worker.facts and (message := await self._load(worker, name)):
                raise RequestError(422, "not_loaded", message)
        if name not in self.wanted:
            self.wanted.append(name)

    async def drop(self, name: str) -> None:
        """Forget a model until it is loaded again; what waits for it is refused.

        Raises:
            RequestError: it is not there.
        """
        if name not in self.wanted:
            raise RequestError(404, "unknown_model", f"no model called {name!r} is loaded")
        self.wanted.remove(name)
        self.waiting.end(RequestError(404, "unknown_model", f"{name} was dropped"), name)
        for worker in list(self.workers.values()):
            if worker.facts.pop(name, None) is not None:
                await worker.change(Drop(name))

    async def _load(self, worker: Worker, name: str) -> str | None:
        message = await worker.change(Load(name, self.known[name].place))
        self.waiting.changed()
        return message

    # Processes

    def start(self) -> None:
        """Start the workers; they are there when :attr:`ready` says so."""
        self._tasks = [asyncio.create_task(self._keep(number)) for number in range(self.settings.workers)]

    async def stop(self) -> None:
        """End the workers; what they have not answered is refused."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.waiting.end(RequestError(503, "stopped", "the server is stopping"))

    async def _keep(self, number: int) -> None:
        """Have a worker, again and again."""
        for died in itertools.count():
            try:
                served = await self._live(number, first=not died)
            except Exception as error:  # no process can be started: no memory, too many files
                self.failure, served = f"worker {number} cannot be started: {error}", False
                self._say(self.failure)
            if self.failure and not died:
                return
            pause = _PAUSES[0 if served else min(died, len(_PAUSES) - 1)]
            self._say(f"worker {number} died; it is started again")
            self.watcher.died()
            await asyncio.sleep(pause)

    async def _live(self, number: int, *, first: bool) -> bool:
        """One life of a worker; whether it got as far as to serve."""
        worker = Worker(
            number,
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "internimage.serving.worker"),
                *(str(number), msgspec.json.encode(self._worker).decode()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            ),
        )
        self.workers[number] = worker
        feeding = asyncio.create_task(self._feed(worker, first))
        try:
            await worker.read(self.watcher)
        finally:
            self.workers.pop(number, None)
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            worker.end(RequestError(500, "worker_died", "the process that had this picture died; it was not answered"))
            await _ended(worker.process)
        return bool(worker.facts)

    async def _feed(self, worker: Worker, first: bool) -> None:
        """Load the models, then hand over batch after batch."""
        with contextlib.suppress(ConnectionError):  # said when its output ends
            for name in list(self.wanted):
                if message := await self._load(worker, name):
                    self._say(f"{name}: {message}")
                    if first:
                        self.failure = message
                        worker.process.kill()
                        return
            while True:
                await worker.room.acquire()
                some = await self.waiting.take(lambda: {name: one.batch for name, one in worker.facts.items()})
                self.watcher.batched(some)
                await worker.run(some[0].model, some)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Wait for the end of a process, which its closed input brings about."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_END):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
