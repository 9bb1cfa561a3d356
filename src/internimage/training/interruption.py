"""Ending a run between two batches: what SIGINT and SIGTERM ask for."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


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


def leave_interrupts_to_the_main_process(worker: int) -> None:
    """Ctrl-C reaches a whole group of processes; without workers the main one could not finish its batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
