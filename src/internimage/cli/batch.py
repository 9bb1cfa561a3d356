"""internimage batch"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from internimage.cli.common import Bar
from internimage.cli.workers import WorkerOptions
from internimage.errors import ConfigError

_LINE = 30.0  # seconds between lines where no person is watching


@dataclass(frozen=True)
class Batch:
    """Predict a folder or bucket of pictures, however many, into tables.

    $ internimage batch photos/ --model runs/cells --output results/

    $ internimage batch photos/ --model runs/cells --output results/ --processes 4

    $ internimage batch s3://bucket/photos --model runs/cells --output s3://bucket/results --on ray --processes 16

    Each picture is one row: in part-000000.parquet and so on, and the same as JSON lines. One that cannot be read is a
    row with an error; the exit status is 1 if all are. Repeat the command after it was stopped: finished files stay,
    the others are made. Needs the extras serve and formats: pip install 'internimage[serve,formats]'; s3:// and Ray
    need the extra ray.
    """

    source: Annotated[
        Positional[str], arg(metavar="FOLDER", help="Folder of pictures, or s3://..., gs://..., az://...")
    ]
    model: Annotated[str, arg(metavar="NAME")]
    """Name (see `internimage models`), folder, run or exported file."""
    output: Annotated[str, arg(metavar="FOLDER")]
    """Folder for the tables, or an address; new, or of a job that was stopped."""
    on: Literal["local", "ray"] = "local"
    """Processes of this machine, or a Ray cluster: the one that RAY_ADDRESS names, or one started here."""
    processes: Annotated[int, arg(metavar="N")] = 1
    """How many, each with the model."""
    part: Annotated[int, arg(metavar="N")] = 256
    """Pictures of a file; what is lost at most when a process is stopped."""
    topk: Annotated[int, arg(metavar="N")] = 5
    """Classifiers: number of classes of a picture."""
    score_threshold: Annotated[float, arg(metavar="SCORE")] = 0.05
    """Detectors: minimum score of objects."""
    batch_size: Annotated[int, arg(metavar="N")] = 8
    """Pictures per forward pass."""
    worker: WorkerOptions = field(default_factory=WorkerOptions)

    def run(self) -> int:
        from internimage.batch import local
        from internimage.batch.job import open_job
        from internimage.settings.views import DisplayOptions

        if self.processes < 1:
            raise ConfigError(f"--processes is {self.processes}; expected 1 or more")
        worker = self.worker.settings(self.batch_size)
        shown = DisplayOptions(self.topk, self.score_threshold)
        start = time.monotonic()
        job, notes = open_job(self.source, self.output, self.model, worker, shown, self.part)
        for note in notes:
            _say(note)
        if left := job.left():
            counting = _Counting(sum(len(job.names(number)) for number in left))
            if self.on == "ray":
                from internimage.batch import cluster

                cluster.run(job, left, self.processes, _say, counting)
            else:
                local.run(job, left, self.processes, _say, counting)
        summary = job.finish(time.monotonic() - start)
        print(f"{summary['pictures']} pictures, {summary['errors']} of them with errors, in {summary['files']} files")
        for row in summary["first_errors"][:3]:
            _say(row["error"])
        _say(f"written: {job.output}/part-*.parquet, part-*.jsonl, summary.json")
        return int(summary["errors"] == summary["pictures"])


class _Counting:
    """Pictures as they are done: a bar for people, a line now and then for logs."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.start = self.said = time.monotonic()
        self.bar = Bar("predicting")

    def __call__(self, count: int) -> None:
        self.done += count
        self.bar(self.done, self.total)
        now = time.monotonic()
        if not sys.stderr.isatty() and now - self.said >= _LINE:
            self.said = now
            rate = self.done / (now - self.start)
            left = (self.total - self.done) / rate
            _say(f"{self.done} of {self.total} pictures, {rate:.1f} a second, {left:.0f} s left")


def _say(text: str) -> None:
    print(f"internimage: {text}", file=sys.stderr, flush=True)
