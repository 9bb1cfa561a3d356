"""Processes of this machine: the server's workers, fed from storage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

from internimage.batch.job import Job, Row
from internimage.errors import ConfigError, ImageReadError, RequestError
from internimage.serving.batching import Pending
from internimage.serving.messages import Done, Facts, Failed
from internimage.serving.pool import Pool
from internimage.serving.settings import ServedModel, ServingSettings
from internimage.writing import readable

_AHEAD = 4  # batches for each process that are read or wait
_PARTS = 2  # at a time, so that the end of one does not leave processes idle
_SECONDS = 24 * 3600.0  # of a picture: nobody waits for it
_TRIES = 3  # of a picture whose process died
_LOOK = 0.05
_NAME = "model"


class Unwatched:
    """Whoever counts nothing."""

    def batched(self, some: Sequence[Pending]) -> None: ...
    def failed(self, kind: str) -> None: ...
    def died(self) -> None: ...


def run(job: Job, left: Sequence[int], processes: int, say: Callable[[str], None], done: Callable[[int], None]) -> None:
    """Do what is left of a job.

    Args:
        job: see there.
        left: numbers of its parts.
        processes: how many, each with the model.
        say: prints a line.
        done: is told how many pictures more are done.

    Raises:
        ConfigError: the model cannot be loaded.
        DataError: the storage does not answer.
        FileWriteError: results cannot be written.
    """
    asyncio.run(_Run(job, processes, say, done).parts(left))


class _Run:
    """One job at work."""

    def __init__(self, job: Job, processes: int, say: Callable[[str], None], done: Callable[[int], None]) -> None:
        self.job, self.done = job, done
        window = max(8, _AHEAD * processes * job.worker.batch)
        settings = ServingSettings(workers=processes, queue=window, seconds=_SECONDS)
        self.pool = Pool([ServedModel(_NAME, job.model)], settings, job.worker, Unwatched(), say)
        self.window = asyncio.Semaphore(window)
        self.several = asyncio.Semaphore(_PARTS)

    async def parts(self, left: Sequence[int]) -> None:
        self.pool.start()
        try:
            while not self.pool.ready:
                if self.pool.failure:
                    raise ConfigError(self.pool.failure)
                await asyncio.sleep(_LOOK)
            facts = self.pool.model(_NAME)
            async with asyncio.TaskGroup() as group:
                for number in left:
                    await self.several.acquire()
                    group.create_task(self._part(number, facts))
        except BaseExceptionGroup as several:
            raise _first(several) from None
        finally:
            await self.pool.stop()

    async def _part(self, number: int, facts: Facts) -> None:
        try:
            tasks = []
            async with asyncio.TaskGroup() as group:
                for name in self.job.names(number):
                    await self.window.acquire()
                    tasks.append(group.create_task(self._picture(name)))
            rows = [task.result() for task in tasks]
            await asyncio.to_thread(self.job.write, number, rows, facts.columns)
        finally:
            self.several.release()

    async def _picture(self, name: str) -> Row:
        try:
            content = await asyncio.to_thread(self.job.source.picture, name)
            if isinstance(content, ImageReadError):
                return Row(name, error=str(content))
            return await self._predicted(name, content)
        finally:
            self.window.release()
            self.done(1)

    async def _predicted(self, name: str, content: bytes) -> Row:
        for tried in range(_TRIES):
            (one,) = self.pool.put(_NAME, [(readable(name), content)], "row", self.job.shown)
            try:
                answer: Done | Failed = await one.outcome
            except RequestError as error:
                if error.code == "not_loaded":
                    raise ConfigError(str(error)) from error
                if error.code != "worker_died" or tried == _TRIES - 1:
                    return Row(name, error=f"{name}: {error}")
                continue
            if isinstance(answer, Failed):
                return Row(name, error=answer.message)
            found = json.loads(answer.content)
            return Row(name, {**found["result"], "image": name}, found["rows"])
        raise AssertionError


def _first(error: BaseException) -> BaseException:
    """Of all that went wrong together."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
