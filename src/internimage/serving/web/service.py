"""From the pictures of a request to their answers, whatever protocol it speaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from starlette.requests import Request

from internimage.errors import ConfigError, RequestError
from internimage.serving.batching import Pending, busy
from internimage.serving.messages import Answer, Done, Facts, Failed
from internimage.serving.metrics import Metrics
from internimage.serving.pool import Pool
from internimage.serving.web.pictures import Intake, Named, gone
from internimage.settings.views import DisplayOptions

T = TypeVar("T")

_MOST = 1_000_000  # classes that anybody may want to see
_STATUS = {"picture": 422, "request": 400, "model": 500, "internal": 500}


class Service:
    """Takes requests for predictions.

    Args:
        pool: who predicts.
        metrics: what is counted.
    """

    def __init__(self, pool: Pool, metrics: Metrics) -> None:
        self.pool, self.settings, self.metrics = pool, pool.settings, metrics
        self.intake = Intake(pool.settings)

    async def answer(self, request: Request, model: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do ``work`` for a request in the time that it has, and count it.

        Raises:
            RequestError: whatever it is refused for.
        """
        start, status = time.monotonic(), 200
        try:
            if self.pool.waiting.full:
                raise busy()
            with self.intake.room(request):
                async with asyncio.timeout(self.settings.seconds):
                    return await work()
        except TimeoutError as error:
            status = 504
            raise RequestError(
                504, "too_slow", f"no answer after {self.settings.seconds:g} s; send it again"
            ) from error
        except RequestError as refusal:
            status = refusal.status
            self.metrics.failed(refusal.code)
            raise
        finally:
            self.metrics.requests.labels(model, status).inc()
            self.metrics.seconds.labels(model).observe(time.monotonic() - start)

    async def predict(
        self, request: Request, facts: Facts, pictures: Sequence[Named], answer: Answer, shown: DisplayOptions
    ) -> list[Done | Failed]:
        """The answers to pictures; those that cannot be read are among them.

        Raises:
            RequestError: there is no room, the client is gone, the worker died.
        """
        request.state.names = [name for name, _ in pictures]
        some = self.pool.put(facts.name, pictures, answer, shown)
        leaving = asyncio.ensure_future(_left(request))
        outcomes = [one.outcome for one in some]
        answering = asyncio.ensure_future(asyncio.wait(outcomes, return_when=asyncio.FIRST_EXCEPTION))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise gone()
            for outcome in outcomes:
                if outcome.done() and (refusal := outcome.exception()) is not None:
                    raise refusal
            return [outcome.result() for outcome in outcomes]
        finally:
            leaving.cancel()
            answering.cancel()
            _forget(some)


def _forget(some: Sequence[Pending]) -> None:
    """Nobody waits for these any more."""
    for one in some:
        if not one.outcome.done():
            one.outcome.cancel()
        elif not one.outcome.cancelled():
            one.outcome.exception()  # seen, of several the first was told


async def _left(request: Request) -> None:
    """Until the client of a request that was read whole is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def shown_options(facts: Facts, topk: int | None, score_threshold: float | None) -> DisplayOptions:
    """How much of results is shown.

    Raises:
        RequestError: it is something that the model's results do not have, or out of bounds.
    """
    for name, value in (("topk", topk), ("score_threshold", score_threshold)):
        if isinstance(value, bool) or (value is not None and value > _MOST):
            raise RequestError(400, "bad_option", f"{name} is {str(value)[:40]}; expected a number, {_MOST} at most")
        if value is not None and name not in facts.options:
            raise RequestError(400, "bad_option", f"{name} says nothing of the results of a {facts.noun}; leave it out")
    usual = DisplayOptions()
    try:
        return DisplayOptions(
            usual.topk if topk is None else topk, usual.score_threshold if score_threshold is None else score_threshold
        )
    except ConfigError as error:
        raise RequestError(
            400, "bad_option", str(error).replace("--score-threshold", "score_threshold").replace("--", "")
        ) from error


def error_of(failed: Failed) -> RequestError:
    """A picture's failure as the answer to a request that has no other picture."""
    return RequestError(_STATUS[failed.kind], f"{failed.kind}_failed", failed.message)
