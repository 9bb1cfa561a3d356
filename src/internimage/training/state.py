"""Saving and restoring a run, so that it continues as if it had never stopped.

Nothing random needs saving: every batch draws from a generator seeded by (seed, epoch, batch).
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from internimage.checkpoints.files import load_weights_only
from internimage.checkpoints.folder import from_plain, written_aside
from internimage.errors import CheckpointWriteError, TrainingError

STATE_FILE = "last.pt"
_SCHEMA = 1


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: epochs finished.
        batch: batches done of the epoch after those.
        update: optimiser steps done.
        loss_sum, loss_count: of the unfinished epoch.
        unreadable: files left out so far in the unfinished epoch.
        best: best value of the task's main metric, None before the first evaluation.
        history: one row of numbers per finished epoch.
    """

    epoch: int = 0
    batch: int = 0
    update: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    unreadable: int = 0
    best: float | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


def save_state(folder: Path, progress: Progress, parts: dict[str, Any]) -> None:
    """Replace the run's state file; a failure leaves the previous one untouched.

    Raises:
        TrainingError: the disk is full or not writable.
    """
    target = folder / STATE_FILE
    try:
        with written_aside(target) as aside, aside.open("wb") as file:
            torch.save({"schema": _SCHEMA, "progress": asdict(progress), **parts}, file)
            file.flush()
            os.fsync(file.fileno())
    except CheckpointWriteError as error:
        raise TrainingError(f"{error}; make room, then go on with --resume {folder}") from error


def load_state(folder: Path) -> tuple[Progress, dict[str, Any]]:
    """Progress and parts as given to :func:`save_state`.

    Raises:
        TrainingError: there is no state, or another version wrote it.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise TrainingError(f"{folder} holds no {STATE_FILE}; nothing was saved there to resume from")
    content = load_weights_only(path)
    if not isinstance(content, dict) or content.pop("schema", None) != _SCHEMA:
        raise TrainingError(f"{path} was written by another version of internimage; resume with that one")
    return from_plain(Progress, content.pop("progress")), content
