"""A Ray cluster: an actor for each process, wherever Ray puts it; each part of the job is a row of a Ray data set.

Ray runs a part again when its actor dies, and a part's files are written under its own name, so that none is there
twice.  Pictures are read and decoded by the actors themselves: one that is corrupt is a row, not the end of the job.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from internimage.batch.job import Job, Row, row_of
from internimage.errors import DataError, FileWriteError, ImageReadError, InternImageError, MissingExtraError
from internimage.images import ImageSource
from internimage.inference.runner import Runner
from internimage.serving.opening import open_runner
from internimage.writing import counted

_FREE = 1.0  # processors that are left to Ray itself


class Predicting:
    """An actor: the model, and what it does with a part."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.runner, _ = open_runner(job.model, job.worker)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do a part, unless its files are there."""
        number = int(row["part"])
        if number in self.job.left():
            self.job.write(number, predicted(self.runner, self.job, number), self.runner.spec.columns)
        return {"pictures": len(self.job.names(number))}


def predicted(runner: Runner, job: Job, number: int) -> list[Row]:
    """The rows of a part.

    Raises:
        DataError: the storage does not answer.
    """
    rows: dict[str, Row] = {}

    def sources() -> Iterator[ImageSource]:
        for name, content in job.source.read_ahead(job.names(number), 2 * job.worker.batch):
            if isinstance(content, ImageReadError):
                rows[name] = Row(name, error=str(content))
            else:
                yield ImageSource(name, content)

    try:
        for source, result in runner.stream(sources()):
            rows[source.name] = _row(runner, job, source.name, result)
    except (DataError, FileWriteError):
        raise
    except Exception:  # one of the pictures of a batch: which, is found out below
        for name in job.names(number):
            if name not in rows:
                rows[name] = _alone(runner, job, name)
    return [rows[name] for name in job.names(number)]


def _row(runner: Runner, job: Job, name: str, result: Any) -> Row:
    return (
        Row(name, error=str(result))
        if isinstance(result, ImageReadError)
        else row_of(name, runner.spec, result, job.shown)
    )


def _alone(runner: Runner, job: Job, name: str) -> Row:
    """A picture without its neighbours."""
    content = job.source.picture(name)
    if isinstance(content, ImageReadError):
        return Row(name, error=str(content))
    try:
        ((_, result),) = runner.stream([ImageSource(name, content)])
    except InternImageError as error:
        return Row(name, error=f"{name}: {error}")
    except Exception as error:
        return Row(name, error=f"{name}: the model failed ({type(error).__name__})")
    return _row(runner, job, name, result)


def run(job: Job, left: Sequence[int], processes: int, say: Callable[[str], None], done: Callable[[int], None]) -> None:
    """Do what is left of a job, as :func:`internimage.batch.local.run` does; on the cluster that RAY_ADDRESS names, or
    on one of this machine.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("--on ray needs Ray: pip install 'internimage[ray]'") from error
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    resources = ray.cluster_resources()
    cores, cards = resources.get("CPU", 1.0), resources.get("GPU", 0.0)
    say(f"Ray: {counted(int(cores), 'core')}, {counted(int(cards), 'GPU')}; {counted(processes, 'actor')}")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    share = math.floor(100 * max(0.1, (cores - _FREE) / processes)) / 100
    parts = ray.data.from_items([{"part": number} for number in left], override_num_blocks=len(left))
    results = parts.map(
        Predicting,  # type: ignore[arg-type]  # Ray makes one in each actor
        fn_constructor_args=(job,),
        compute=ray.data.ActorPoolStrategy(size=processes),
        num_cpus=min(share, job.worker.threads or 1),
        num_gpus=cards / processes if cards and job.worker.device != "cpu" else 0,
    )
    for row in results.iter_rows():
        done(int(row["pictures"]))
