"""The queue in front of the models: bounded, in order, and given out in batches of one model.  Knows no process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from internimage.errors import RequestError
from internimage.serving.messages import Done, Failed, Job


@dataclass(eq=False)
class Pending:
    """A picture that waits for its answer.

    Attributes:
        model: by name.
        job: what a worker is told.
        outcome: the answer, once it is there; cancelled when nobody wants it any more.
        arrived: when, on a clock without jumps.
    """

    model: str
    job: Job
    outcome: asyncio.Future[Done | Failed]
    arrived: float = field(default_factory=time.monotonic)


class Waiting:
    """Pictures that wait for a worker.

    Args:
        most: how many at most.
        wait: seconds that a picture waits for others to fill its batch.
    """

    def __init__(self, most: int, wait: float) -> None:
        self.most, self.wait = most, wait
        self._pictures: dict[int, Pending] = {}  # in order of arrival
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def full(self) -> bool:
        """Whether there is no room for another."""
        return len(self._pictures) >= self.most

    def put(self, some: Sequence[Pending]) -> None:
        """Let pictures wait, all or none; they go when their outcome is cancelled.

        Raises:
            RequestError: there is no room.
        """
        if len(some) > self.most:
            raise RequestError(413, "too_many", f"{len(some)} pictures; a request may have {self.most}")
        if len(self._pictures) + len(some) > self.most:
            raise busy()
        for one in some:
            self._pictures[one.job.id] = one
            one.outcome.add_done_callback(partial(self._leave, one.job.id))
        self._arrived.set()

    def _leave(self, number: int, _: object) -> None:
        self._pictures.pop(number, None)

    async def take(self, batches: Callable[[], Mapping[str, int]]) -> list[Pending]:
        """The picture that has waited longest and others for the same model, as soon as there are any.

        Args:
            batches: of each model that can be run how many pictures it takes together; asked anew after each change.
        """
        while True:
            some = self._first(batches())
            if not some:
                await self._change(None)
                continue
            left = some[0].arrived + self.wait - time.monotonic()
            if left <= 0 or len(some) == batches()[some[0].model]:
                for one in some:
                    del self._pictures[one.job.id]
                return some
            await self._change(left)

    def _first(self, batches: Mapping[str, int]) -> list[Pending]:
        model = next((one.model for one in self._pictures.values() if one.model in batches), None)
        if model is None:
            return []
        same = (one for one in self._pictures.values() if one.model == model)
        return [one for one, _ in zip(same, range(batches[model]), strict=False)]

    async def _change(self, seconds: float | None) -> None:
        self._arrived.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            pass

    def changed(self) -> None:
        """A worker has other models than before."""
        self._arrived.set()

    def end(self, refusal: RequestError, model: str | None = None) -> None:
        """Refuse all that wait, or those for one model."""
        for one in list(self._pictures.values()):
            if model in (None, one.model) and not one.outcome.done():
                one.outcome.set_exception(refusal)


def busy() -> RequestError:
    """What a request is told that finds no room."""
    return RequestError(503, "busy", "as many pictures wait as may; try again in a second", {"Retry-After": "1"})
