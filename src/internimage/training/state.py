"""Saving and restoring a run, so that it continues as if it had never stopped; the lock of its folder.

Nothing random needs saving: every batch draws from a generator seeded by (seed, epoch, batch).
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import shutil
import sys
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from internimage.checkpoints.files import load_weights_only
from internimage.errors import CheckpointReadError, FileWriteError, TrainingError
from internimage.settings.plain import from_plain
from internimage.writing import written_aside

_FOLDER = "checkpoints"
_LOCK_FILE = ".lock"
_FAR = 1 << 20  # where Windows locks, which lets nobody read what is locked
_SCHEMA = 2


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: epochs finished.
        batch: batches done of the epoch after those, on each process.
        update: optimiser steps done.
        loss_sum, loss_count: since the last evaluation, the mean over processes; losses that are not finite left out.
        skipped: updates left out since the last evaluation because their gradient was not finite.
        skipped_in_a_row: those since the last good update.
        unreadable: files left out since the last evaluation.
        best: best value of the task's main metric, None before the first evaluation.
        history: a row of numbers for each evaluation.
    """

    epoch: int = 0
    batch: int = 0
    update: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    unreadable: int = 0
    best: float | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Division:
    """How the images of an epoch are divided.

    Attributes:
        world: processes.
        batch_size: images of a batch on each of them.
        accumulate: batches of an update on each.
        batches: of an epoch on each.
        lr: peak learning rate.
    """

    world: int
    batch_size: int
    accumulate: int
    batches: int
    lr: float

    @property
    def images_a_batch(self) -> int:
        """Of all processes together."""
        return self.batch_size * self.world

    @property
    def images_an_update(self) -> int:
        return self.images_a_batch * self.accumulate

    @property
    def images_an_epoch(self) -> int:
        return self.images_a_batch * self.batches


@dataclass(frozen=True)
class Saved:
    """By whom a state was saved: so many processes with such a strategy; ``division`` is None in older states."""

    folder: Path
    world: int
    strategy: str
    division: Division | None


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is; ``agree`` says whether all of them give True, and waits for all."""

    rank: int
    world: int
    strategy: str
    agree: Callable[[bool], bool]


def newest_checkpoint(run: Path) -> Path | None:
    """The folder of the last complete state of a run; None if nothing was saved."""
    return max((path for path in (run / _FOLDER).glob("update-*") if path.is_dir()), default=None)


def save_state(
    run: Path, progress: Progress, parts: dict[str, Any], processes: Processes, division: Division, keep: int
) -> None:
    """Write ``RUN/checkpoints/update-N``, aside first and then renamed; drop all but the newest ``keep``.

    Every process calls this; one with empty ``parts`` writes nothing.

    Raises:
        TrainingError: the disk is full or not writable.  Earlier states are intact.
    """
    folder = run / _FOLDER
    target = folder / f"update-{progress.update:09d}"
    aside = folder / f".{target.name}.partial"
    failure: Exception | None = None
    try:
        aside.mkdir(parents=True, exist_ok=True)
        if parts:
            about: dict[str, Any] = {"schema": _SCHEMA, "world": processes.world, "strategy": processes.strategy}
            about["division"] = asdict(division)
            with written_aside(aside / _file(processes.rank)) as path, path.open("wb") as file:
                torch.save({**about, "progress": asdict(progress), "parts": parts}, file)
                file.flush()
                os.fsync(file.fileno())
    except (OSError, FileWriteError) as error:
        failure = error
    if not processes.agree(failure is None):
        shutil.rmtree(aside, ignore_errors=True)
        before = f"; {newest_checkpoint(run)} is intact" if newest_checkpoint(run) else ""
        reason = failure or "another process could not save"
        raise TrainingError(f"{reason}{before}; make room, then go on with --resume {run}") from failure
    if processes.rank == 0:
        if target.exists():
            shutil.rmtree(target)
        aside.replace(target)
        for old in sorted(folder.glob("update-*"))[:-keep]:
            shutil.rmtree(old, ignore_errors=True)


def saved_by(run: Path) -> Saved | None:
    """By whom the newest state of a run was saved; None if there is none.

    Raises:
        TrainingError: it is damaged, or another version wrote it.
    """
    folder = newest_checkpoint(run)
    if folder is None:
        return None
    content = _read(folder / _file(0), folder)
    division = content.get("division")
    known = None if division is None else from_plain(Division, division)
    return Saved(folder, content["world"], content["strategy"], known)


def load_state(run: Path, processes: Processes) -> tuple[Progress, dict[str, Any]]:
    """Progress and parts as given to :func:`save_state` by this process, or by the main one if it saved for all.

    Raises:
        TrainingError: there is no state, it is damaged, another version wrote it, or other processes did.
    """
    folder = newest_checkpoint(run)
    if folder is None:
        raise TrainingError(f"{run} holds no {_FOLDER}; nothing was saved there to resume from")
    path = folder / _file(processes.rank)
    content = _read(path if path.exists() else folder / _file(0), folder)
    if (content["world"], content["strategy"]) != (processes.world, processes.strategy):
        raise TrainingError(
            f"{folder} was saved by {content['world']} processes with strategy {content['strategy']}, this is "
            f"{processes.world} with {processes.strategy}; resume with as many, or start anew"
        )
    return from_plain(Progress, content["progress"]), content["parts"]


def _read(path: Path, folder: Path) -> dict[str, Any]:
    try:
        content = load_weights_only(path)
    except CheckpointReadError as error:
        raise TrainingError(f"{error}; delete {folder} to go on from the state before it") from error
    if not isinstance(content, dict) or content.get("schema") != _SCHEMA:
        raise TrainingError(f"{path} was written by another version of internimage; resume with that one")
    return content


def _file(rank: int) -> str:
    return f"process-{rank}.pt"


class RunLock:
    """Holds a run's folder, until it is released, forgotten, or the process ends, however that is.

    The system holds the lock for this process, not the file: one that is left behind locks nothing.

    Args:
        folder: of the run.

    Attributes:
        kept: whether the file system keeps locks; some network file systems do not.

    Raises:
        TrainingError: another run holds it, or it cannot be written into.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / _LOCK_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise TrainingError(
                f"cannot write into {folder}: {error.strerror or error}; choose another --output"
            ) from error
        self.release = weakref.finalize(self, os.close, file)
        if sys.platform != "win32":  # a process that reads images would hold the lock after this one's end
            os.register_at_fork(after_in_child=functools.partial(_release, weakref.ref(self)))
        try:
            _lock(file)
            self.kept = True
        except (BlockingIOError, PermissionError):
            holder = _holder(file)
            self.release()
            raise TrainingError(
                f"{folder} is in use by a run{holder}; wait for its end or stop it; a new run takes another --output"
            ) from None
        except OSError:
            self.kept = False
        with contextlib.suppress(OSError):  # for people; the lock holds without
            os.truncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, f"process {os.getpid()} on {platform.node()}".encode())


def _lock(file: int) -> None:
    """Take the lock of an open file, or raise BlockingIOError (POSIX) or PermissionError (Windows)."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file, _FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(file: int) -> str:
    """Who wrote that it holds the lock: ``" (process 12 on host)"``."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        os.lseek(file, 0, os.SEEK_SET)
        if text := os.read(file, 200).decode():
            return f" ({text})"
    return ""


def _release(lock: weakref.ref[RunLock]) -> None:
    if (held := lock()) is not None:
        held.release()
