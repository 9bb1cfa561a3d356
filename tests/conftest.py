"""Fixtures that several files share; what else they share is in ``helpers``."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

# Threads that wait, not spin, for each other: four times faster where another process wants the same cores.
os.environ["OMP_WAIT_POLICY"] = "passive"

import torch

# Where there is no GPU, Triton's kernels are interpreted.  To be set before anything imports Triton.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest
from helpers.goldens import SHARED

from internimage import registry


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A set has another order in each process: workers would collect different tests, and none would run."""
    for mark in metafunc.definition.iter_markers("parametrize"):
        if isinstance(mark.args[1], set | frozenset):
            raise TypeError(f"{metafunc.function.__name__}: parametrise over a list, not over a {type(mark.args[1])}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of all goldens and specifications; tests that need it fail without it."""
    if not SHARED.is_dir():
        pytest.fail(f"there is no {SHARED}: let INTERNIMAGE_SHARED name the shared folder, or run -m 'not full'")
    return SHARED


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Bit equality needs one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipes of ``helpers/small_recipes.py`` beside the package's, as any other package would add its own."""
    for task in registry.TASKS:
        entry = registry.TASKS[task]
        added = replace(entry, recipes=(*entry.recipes, f"helpers.small_recipes:{task.upper()}"))
        monkeypatch.setitem(registry.TASKS, task, added)
