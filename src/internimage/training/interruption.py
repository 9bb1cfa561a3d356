"""What ends a run before its time: SIGINT and SIGTERM, between two batches; the death of a process that reads."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from PIL import Image

from internimage.errors import InternImageError, ReaderKilledError, TrainingError
from internimage.training.state import newest_checkpoint

_KILLED = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)(?:.*killed by signal: (.+?)\.)?")

_LOST = re.compile(r"[Cc]onnection (?:was )?(?:closed|reset) by (?:remote )?peer|remote process exited|Broken pipe")


class Interruption:
    """The first SIGINT or SIGTERM asks a run to finish its batch and save; a second one does the usual, at once.

    Attributes:
        asked: the signal, None before there was one.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Within it signals are requests."""
        caught = (signal.SIGINT, signal.SIGTERM)
        try:
            previous: dict[int, Any] = {number: signal.getsignal(number) for number in caught}

            def request(number: int, frame: FrameType | None) -> None:
                self.asked = signal.Signals(number)
                for other in caught:
                    signal.signal(other, previous[other])

            for number in caught:
                signal.signal(number, request)
        except ValueError:  # not in the main thread, where signals cannot be handled
            yield
            return
        try:
            yield
        finally:
            for number in caught:
                signal.signal(number, previous[number])


def reading_process() -> Callable[[int], None]:
    """What a process that reads images does first, however it is started: it leaves signals to the main process, and
    reads pictures as large as that one does.
    """
    return partial(_begin_reading, Image.MAX_IMAGE_PIXELS)


def _begin_reading(most_pixels: int | None, worker: int) -> None:
    Image.MAX_IMAGE_PIXELS = most_pixels
    leave_signals_to_the_main_process(worker)


def leave_signals_to_the_main_process(worker: int) -> None:
    """Ctrl-C reaches a whole group of processes, and SIGTERM may; without workers the main one could not save.

    SIGTERM from the main process ends the worker: that is how PyTorch and Python end those that are left.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere nobody can ask who sent a signal, and any SIGTERM ends the worker
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_wait_for_the_main_process, daemon=True).start()


def _wait_for_the_main_process() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)


@contextmanager
def told_of_killed_readers(run: Path) -> Iterator[None]:
    """Within it the death of a process that reads images is an error that says what to do; ``run`` is the folder.

    PyTorch reports it wherever the main thread is, even within an update, so nothing can be saved then.

    Raises:
        ReaderKilledError: the system killed such a process.
    """
    try:
        yield
    except (RuntimeError, InternImageError) as error:
        killed = next(filter(None, map(_KILLED.match, _chain(error))), None)
        if killed is None:
            raise
        pid, signalled = killed[1], killed[2]
        short = "shared memory ran out (Docker: --shm-size)" if signalled == "Bus error" else "memory ran out"
        again = "nothing was saved yet: start the run anew with fewer --workers or a smaller --batch-size"
        if newest_checkpoint(run) is not None:
            again = f"the last saved state is intact: go on with --resume {run} and fewer --workers (0 for none)"
        raise ReaderKilledError(
            f"a process that reads images (pid {pid}) was killed by the system ({signalled or 'no signal is known'}), "
            f"most often because {short}; {again}"
        ) from error


@contextmanager
def told_of_lost_processes(run: Path) -> Iterator[None]:
    """Within it the end of another process of the run is an error that says so, instead of one of the network.

    Raises:
        TrainingError: another process ended.
    """
    try:
        yield
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        saved = newest_checkpoint(run)
        again = f"; the last saved state is intact: go on with --resume {run}" if saved is not None else ""
        raise TrainingError(f"another process of the run ended, and has said why if it could{again}") from error


def _chain(error: BaseException | None) -> Iterator[str]:
    """An error and what it came of: where a state was being written, PyTorch's own error is hidden by another."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__
