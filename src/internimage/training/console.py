"""A training run on the console."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from internimage.training.reporting import Moment

T = TypeVar("T")
_SILENT = 2  # seconds that something may take without a word to those who are watching
_LINE_EVERY = 60  # seconds between lines within an epoch where nobody is watching


class ConsoleReporter:
    """A line an epoch.  Between them, on a terminal a progress bar with the time left, elsewhere a line a minute."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self._bar: Any = None
        self._told = time.monotonic()

    def note(self, text: str) -> None:
        print(text, flush=True)

    def warn(self, text: str) -> None:
        print(f"internimage: {text}", file=sys.stderr)

    def follow(self, items: Iterable[T], total: int, what: str) -> Iterator[T]:
        started = time.monotonic()
        for done, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if self.live and now - started > _SILENT:
                self._show(what, done, total, f"{done}/{total}")
            elif not self.live and now - self._told > _LINE_EVERY:
                print(f"{what}: {done}/{total}", flush=True)
                self._told = now
        self.close()

    def batch(self, now: Moment) -> None:
        digits = 0 if now.images_per_second >= 10 else 1 if now.images_per_second >= 1 else 2
        speed, memory = f"{now.images_per_second:.{digits}f} img/s", f"{now.memory / 2**30:.1f} GiB"
        numbers = f"loss {now.loss:.3f}  lr {now.lr:.2e}  {speed}  {memory}{_left(now.seconds_left)}"
        if self.live:
            self._show(f"epoch {now.epoch + 1}/{now.epochs}", now.batch, now.batches, numbers)
        elif time.monotonic() - self._told > _LINE_EVERY:
            print(f"epoch {now.epoch + 1:>3}  batch {now.batch}/{now.batches}  {numbers}", flush=True)
            self._told = time.monotonic()

    def epoch(self, row: dict[str, Any], improved: bool, shown: Sequence[str]) -> None:
        self.close()
        numbers = "  ".join(f"{name} {row[name]:.1%}" for name in shown if name in row)
        left_out = "".join(f"  {name} {row[name]}" for name in ("unreadable", "skipped") if row[name])
        best = "  best" if improved else ""
        print(f"epoch {row['epoch']:>3}  loss {row['loss']:.3f}  {numbers}{left_out}{best}", flush=True)
        self._told = time.monotonic()

    def close(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self, epoch: str, batch: int, batches: int, numbers: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        if self._bar is None:
            columns = TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[numbers]}")
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task(epoch, total=batches, numbers=numbers)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], description=epoch, completed=batch, numbers=numbers)


def _left(seconds: float | None) -> str:
    """``  2 h 05 min left`` or ``  7 min left``; nothing if it is not known yet."""
    if seconds is None:
        return ""
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"  {hours} h {minutes:02d} min left" if hours else f"  {minutes} min left"
