"""A process that predicts: orders come in through its standard input, reports go out through its standard output.

It ends when its input ends, however the server that started it came to its end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, BinaryIO, NamedTuple

import msgspec
from PIL import Image

from internimage.drawing.objects import class_colour
from internimage.errors import ImageReadError, InternImageError
from internimage.images import ImageSource
from internimage.inference.runner import Runner
from internimage.labels import class_names
from internimage.serving.answers import encode, possible
from internimage.serving.log import say
from internimage.serving.messages import (
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
    Ping,
    Pong,
    Report,
    Run,
    packed,
    read_orders,
)
from internimage.serving.opening import open_runner
from internimage.serving.settings import WorkerSettings
from internimage.settings.views import DisplayOptions

_TOLD_APART = 2_000  # colours
_NICE = 5  # so that the server gets its moment on a busy machine, in which it refuses what there is no room for


class Ready(NamedTuple):
    """A picture that the model can take."""

    job: Job
    source: ImageSource
    prepared: Any


class Worker:
    """Reads pictures in threads, ahead of the models, which run in one.

    Args:
        settings: how models run.
        number: which worker this is, counted from 0.
        orders, reports: pipes.
    """

    def __init__(self, settings: WorkerSettings, number: int, orders: BinaryIO, reports: BinaryIO) -> None:
        self.settings, self.number = settings, number
        self.orders, self.reports = orders, reports
        self.models: dict[str, Runner] = {}
        self._wanted: set[int] = set()  # jobs that are neither answered nor cancelled
        self._work: SimpleQueue[tuple[Order, list[Future[Ready]]] | None] = SimpleQueue()
        self._pool = ThreadPoolExecutor(max(1, settings.threads), thread_name_prefix="internimage-serve")
        self._reporting = threading.Lock()

    def run(self) -> None:
        """Work until the orders end."""
        threading.Thread(target=self._listen, name="internimage-orders", daemon=True).start()
        while (some := self._work.get()) is not None:
            order, futures = some
            if isinstance(order, Run):
                self._predict(order, futures)
            elif isinstance(order, Load):
                self._load(order)
            elif isinstance(order, Drop):
                self.models.pop(order.name, None)
                self._report(Dropped(order.name))
            elif isinstance(order, Ping):
                self._report(Pong())

    def _listen(self) -> None:
        try:
            for order in read_orders(self.orders):
                if isinstance(order, Cancel):
                    self._wanted.difference_update(order.ids)
                    continue
                futures = []
                if isinstance(order, Run):
                    self._wanted.update(job.id for job in order.jobs)
                    futures = [self._pool.submit(self._prepare, order.model, job) for job in order.jobs]
                self._work.put((order, futures))
        finally:
            self._work.put(None)

    def _load(self, order: Load) -> None:
        try:
            runner, runtime = open_runner(order.place, self.settings, self.number)
        except InternImageError as error:
            self._report(NotLoaded(order.name, str(error)))
            return
        except Exception as error:  # a broken driver, no memory: the server says it and goes on
            self._report(NotLoaded(order.name, f"{type(error).__name__}: {error}"))
            return
        self.models[order.name] = runner
        self._report(Loaded(facts_of(order.name, runner, runtime)))

    def _prepare(self, model: str, job: Job) -> Ready:
        source = ImageSource(job.name, job.picture)
        return Ready(job, source, self.models[model].prepare(source) if job.id in self._wanted else None)

    def _predict(self, order: Run, futures: Sequence[Future[Ready]]) -> None:
        ready = []
        for job, future in zip(order.jobs, futures, strict=True):
            try:
                one = future.result()
            except Exception as error:
                self._fail(job, error)
                continue
            if job.id in self._wanted and one.prepared is not None:
                ready.append(one)
        if ready and (runner := self.models.get(order.model)) is not None:
            self._run(runner, ready)

    def _run(self, runner: Runner, ready: Sequence[Ready]) -> None:
        start = time.perf_counter()
        try:
            results = runner.run([one.prepared for one in ready], [one.source for one in ready])
        except Exception as error:
            if len(ready) == 1:
                self._fail(ready[0].job, error)
            else:  # its neighbours have done nothing wrong
                for one in ready:
                    self._run(runner, [one])
            return
        seconds = time.perf_counter() - start
        for one, result in zip(ready, results, strict=True):
            self._pool.submit(self._answer, runner, one, result, seconds)

    def _answer(self, runner: Runner, ready: Ready, result: Any, seconds: float) -> None:
        job = ready.job
        try:
            shown = DisplayOptions(job.topk, job.score_threshold)
            content = encode(runner, ready.source, result, job.answer, shown)
        except Exception as error:
            self._fail(job, error, "request")
            return
        self._wanted.discard(job.id)
        self._report(Done(job.id, content, seconds))

    def _fail(self, job: Job, error: Exception, kind: Any = "model") -> None:
        """Report what went wrong; what nobody foresaw leaves its traces on stderr, without the names in its text."""
        self._wanted.discard(job.id)
        if isinstance(error, ImageReadError):
            self._report(Failed(job.id, "picture", str(error)))
        elif isinstance(error, InternImageError):
            self._report(Failed(job.id, kind, str(error)))
        else:
            trace = "".join(traceback.format_tb(error.__traceback__))
            say(f"a picture failed: {type(error).__name__}\n{trace}")
            self._report(Failed(job.id, "internal", f"the server failed at this picture ({type(error).__name__})"))

    def _report(self, report: Report) -> None:
        with self._reporting:
            self.reports.write(packed(report))
            self.reports.flush()


def facts_of(name: str, runner: Runner, runtime: str) -> Facts:
    """What is known of a model that was loaded."""
    spec, classes = runner.spec, runner.pipeline.classes
    palette = runner.palette or ()
    many = classes > _TOLD_APART
    return Facts(
        name=name,
        task=spec.name,
        noun=spec.model_noun,
        labels=class_names(runner.labels, classes),
        colours=() if many else palette[:classes] + tuple(map(class_colour, range(len(palette), classes))),
        answers=possible(spec),
        columns=spec.columns,
        options=spec.shown,
        batch=runner.batch_size,
        runtime=runtime,
    )


def main() -> None:
    """``python -m internimage.serving.worker NUMBER SETTINGS``"""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server answers what it has before it closes the pipe
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform != "win32":
        os.nice(_NICE)
    orders = os.fdopen(os.dup(0), "rb")
    reports = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no report
    settings = msgspec.json.decode(sys.argv[2], type=WorkerSettings)
    if settings.max_pixels is not None:
        Image.MAX_IMAGE_PIXELS = settings.max_pixels
    try:
        Worker(settings, int(sys.argv[1]), orders, reports).run()
    except BrokenPipeError:  # the server is gone
        os._exit(1)
    os._exit(0)  # threads that still write answers have nobody to read them


if __name__ == "__main__":
    main()
