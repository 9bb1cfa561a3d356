"""The command line."""

from pathlib import Path

import pytest

from internimage.cli.main import main


def run(arguments: list[str | Path]) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code if isinstance(stop.value.code, int) else -1
