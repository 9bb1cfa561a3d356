"""One run in a folder at a time."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
import weakref
from pathlib import Path

from internimage.errors import TrainingError

_FILE = ".lock"
_FAR = 1 << 20  # where Windows locks, which lets nobody read what is locked


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
        path = folder / _FILE
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
                f"{folder} is in use by a run{holder}; wait for its end, stop it, or choose another --output"
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
