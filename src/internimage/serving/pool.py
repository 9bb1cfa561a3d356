"""The worker processes: started, fed, and started again when they die."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from internimage.errors import ConfigError, RequestError
from internimage.serving.batching import Pending, Waiting
from internimage.serving.messages import (
    Answer,
    Facts,
    Job,
)
from internimage.serving.process import ENDED, Watcher, WorkerProcess
from internimage.serving.settings import ServedModel, ServingSettings, WorkerSettings
from internimage.settings.views import DisplayOptions

_PAUSES = (0.1, 0.5, 2.0, 5.0, 15.0)  # seconds before a worker is started again that died so often in vain
_LONGER = 60.0  # seconds that a worker may say nothing beyond twice the time of a request
_AGAIN = (10.0, 320.0)  # seconds between tries to load what could not be loaded: at first, and after many


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
        self.workers: dict[int, WorkerProcess] = {}
        self._failures: dict[str | None, str] = {}  # by model; of the processes themselves under None
        self._ids = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []

    # What requests ask

    @property
    def ready(self) -> bool:
        """Whether every model that is wanted can be asked."""
        return bool(self.wanted) and all(self.facts(name) is not None for name in self.wanted)

    @property
    def failure(self) -> str | None:
        """Why some of what is wanted cannot be asked, and will not be unless something changes; None otherwise."""
        return next(iter(self._failures.values()), None)

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
            raise self._not_ready(name)
        return facts

    def reason(self, name: str) -> str | None:
        """Why a model cannot be loaded; None where nothing is known against it."""
        return self._failures.get(name) or self._failures.get(None)

    def _not_ready(self, name: str) -> RequestError:
        if (failure := self.reason(name)) is None:
            return RequestError(
                503, "not_ready", f"{name} is being loaded; try again in a second", {"Retry-After": "1"}
            )
        message = f"{name} cannot be loaded ({failure}); it is tried again now and then"
        return RequestError(503, "not_loaded", message, {"Retry-After": f"{_AGAIN[0]:g}"})

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
            failure = await worker.load(name, self.known[name].place)
            if failure not in (None, ENDED):  # the next worker loads what is wanted
                raise RequestError(422, "not_loaded", failure)
        if name not in self.wanted:
            self.wanted.append(name)
        self._failures.pop(name, None)
        self.waiting.changed()

    async def drop(self, name: str) -> None:
        """Forget a model until it is loaded again; what waits for it is refused.

        Raises:
            RequestError: it is not there.
        """
        if name not in self.wanted:
            raise RequestError(404, "unknown_model", f"no model called {name!r} is loaded")
        self.wanted.remove(name)
        self._failures.pop(name, None)
        for worker in self.workers.values():
            worker.failures.pop(name, None)
        self.waiting.end(RequestError(404, "unknown_model", f"{name} was dropped"), name)
        for worker in list(self.workers.values()):
            if worker.facts.pop(name, None) is not None:
                await worker.drop(name)

    async def _fill(self, worker: WorkerProcess) -> None:
        """Load what a worker lacks; what it cannot load is said, and refused to those who wait for it."""
        for name in list(self.wanted):
            if name in worker.facts:
                continue
            failure = await worker.load(name, self.known[name].place)
            if failure is None:
                worker.failures.pop(name, None)
                self._failures.pop(name, None)
                self._failures.pop(None, None)
                self.waiting.changed()
            elif failure != ENDED:
                if self.facts(name) is None:
                    self._failures[name] = failure
                    self.waiting.end(self._not_ready(name), name)
                if worker.failures.get(name) != failure:
                    self._say(f"worker {worker.number} cannot load {name}: {failure}")
                    worker.failures[name] = failure

    async def _refill(self, worker: WorkerProcess) -> None:
        """Try again, now and then, what could not be loaded."""
        pause, longest = _AGAIN
        while True:
            await asyncio.sleep(pause)
            await self._fill(worker)
            pause = min(2 * pause, longest) if worker.failures else _AGAIN[0]

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
        in_vain = 0
        while True:
            try:
                in_vain = 0 if await self._live(number) else in_vain + 1
                what = f"worker {number} died"
            except Exception as error:  # no process can be started: no memory, too many files
                in_vain, what = in_vain + 1, f"worker {number} cannot be started: {error}"
            self._say(f"{what}; it is started again")
            self.watcher.died()
            if in_vain >= len(_PAUSES) and not any(worker.facts for worker in self.workers.values()):
                self._failures[None] = f"{what}, {in_vain} times before it had loaded anything; is there memory enough?"
                for name in self.wanted:
                    self.waiting.end(self._not_ready(name), name)
            await asyncio.sleep(_PAUSES[min(in_vain, len(_PAUSES) - 1)])

    async def _live(self, number: int) -> bool:
        """One life of a worker; whether it got as far as to serve."""
        worker = WorkerProcess(
            number,
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "internimage.serving.worker"),  # not from where the user stands
                *(str(number), msgspec.json.encode(self._worker).decode()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            ),
        )
        self.workers[number] = worker
        tasks = [asyncio.create_task(one(worker)) for one in (self._feed, self._refill, self._watch)]
        try:
            await worker.read(self.watcher)
        finally:
            self.workers.pop(number, None)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            worker.end(RequestError(500, "worker_died", "the process that had this picture died; it was not answered"))
            await worker.ended()
        return bool(worker.facts)

    def takes(self, worker: WorkerProcess) -> dict[str, int]:
        """How many pictures of each model a worker takes now: one that is at work leaves them to those that are not."""
        idle = [one for one in self.workers.values() if not one.pending] if worker.pending else []
        return {name: facts.batch for name, facts in worker.facts.items() if not any(name in one.facts for one in idle)}

    async def _feed(self, worker: WorkerProcess) -> None:
        """Load the models, then hand over batch after batch."""
        try:
            await self._fill(worker)
            while True:
                await worker.room.acquire()
                some = await self.waiting.take(lambda: self.takes(worker))
                self.watcher.batched(some)
                self.waiting.changed()  # once it is busy, others may read ahead
                await worker.run(some[0].model, some)
        except ConnectionError:
            return  # said when its output ends
        except Exception as error:  # one that is not fed would be silent for ever; the next one is
            self._say(f"worker {worker.number} cannot be fed: {type(error).__name__}: {error}")
            worker.process.kill()

    async def _watch(self, worker: WorkerProcess) -> None:
        """End a worker that hangs; another one takes its place."""
        patience = 2 * self.settings.seconds + _LONGER
        with contextlib.suppress(ConnectionError):
            await worker.silent(patience)
            self._say(f"worker {worker.number} has not answered for {patience:g} s; it is ended")
            worker.process.kill()
