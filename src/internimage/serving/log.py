"""Lines on stderr for whoever runs the server; where nobody reads them any more, the server goes on."""

from __future__ import annotations

import sys
from contextlib import suppress


def write(line: str) -> None:
    """A line as it is."""
    with suppress(OSError, ValueError):  # a pipe that was closed
        print(line, file=sys.stderr, flush=True)


def say(text: str) -> None:
    """A line from this program."""
    write(f"internimage: {text}")
