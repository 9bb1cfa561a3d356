"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from internimage.errors import ConfigError, FileWriteError

if TYPE_CHECKING:
    from PIL import Image

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_LITTLE_SPACE = 4 << 20
_LONGEST = 80  # characters of a name that stay in the temporary one, so that it is not too long where the name is not


@contextmanager
def written_aside(target: Path, failure: type[FileWriteError] = FileWriteError) -> Iterator[Path]:
    """A temporary path beside ``target`` that replaces it if the block succeeds, and vanishes if not.

    It has the suffix of ``target``, whose folder is made if there is none.  A link stays a link: what it points to is
    replaced.

    Raises:
        FileWriteError: the disk is full or not writable; of the kind ``failure``.
    """
    real = target.resolve() if target.is_symlink() else target
    aside = real.with_name(f".{real.stem[:_LONGEST]}.{os.getpid()}.partial{real.suffix}")
    try:
        try:
            real.parent.mkdir(parents=True, exist_ok=True)
            yield aside
            aside.replace(real)
        finally:
            if aside.exists():
                aside.unlink()
    except (OSError, RuntimeError, SafetensorError) as error:  # PyTorch reports a full disk as a RuntimeError
        if str(error).startswith("DataLoader"):  # raised wherever the main thread is when a reading process dies
            raise
        before = "what was there before is intact" if os.access(target, os.F_OK) else "nothing was left half-written"
        raise failure(f"cannot write {target}: {_reason(error, real.parent)}; {before}") from error


@contextmanager
def written_together(target: Path) -> Iterator[Path]:
    """A temporary folder whose files move beside ``target`` if the block succeeds, the one of its name last.

    Raises:
        FileWriteError: the disk is full or not writable.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".internimage-") as folder:
            yield Path(folder)
            for file in sorted(Path(folder).iterdir(), key=lambda file: file.name == target.name):
                if file.is_file():
                    file.replace(target.with_name(file.name))
    except OSError as error:
        reason = _reason(error, target.parent)
        raise FileWriteError(f"cannot write {target}: {reason}; nothing was left half-written") from error


def write_text(target: Path, text: str) -> None:
    """Write a text file in UTF-8, see :func:`written_aside`."""
    with written_aside(target) as aside:
        aside.write_text(text, encoding="utf-8")


def check_picture_name(path: Path) -> None:
    """Raise :class:`ConfigError` if no picture can be written under this name; to be asked before the work begins."""
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise ConfigError(f"{path} is no picture's name; expected one that ends in {' or '.join(PICTURE_SUFFIXES)}")


def save_picture(picture: Image.Image, target: Path) -> None:
    """Write a picture in the format that the suffix says, see :func:`written_aside`."""
    from PIL import Image

    content = io.BytesIO()  # into a file of a full disk Pillow writes a part of a JPEG without noticing
    picture.save(content, format=Image.registered_extensions()[target.suffix.lower()])
    with written_aside(target) as aside:
        aside.write_bytes(content.getbuffer())


def counted(count: int, noun: str) -> str:
    """``1 picture``, ``2 pictures``, ``2 classes``, ``2 boxes``: a number and what it counts, given as of one."""
    ending = "es" if noun.endswith(("s", "x")) else "s"
    return f"{count} {noun}{'' if count == 1 else ending}"


def readable(name: str) -> str:
    """A name with a question mark for each byte of a file's name that is no UTF-8."""
    return name.encode("utf-8", "replace").decode("utf-8")


def json_text(content: Any, *, encoding: str = "utf-8", indent: int | None = None) -> str:
    """JSON with characters as they are, or as escapes if ``encoding`` does not have them all.

    UTF-8 has all but the stand-ins for bytes of file names that are not UTF-8.  Numbers that are not finite, which JSON
    does not know, are null.
    """
    try:
        text = json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        content = _without_nan(content)
        text = json.dumps(content, indent=indent, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = json.dumps(content, indent=indent)
    return text


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _without_nan(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _reason(error: BaseException, folder: Path) -> str:
    """Why a file could not be written, in the system's words if it said some."""
    cause: BaseException | None = error
    while cause is not None:  # PyTorch complains of what follows from it
        if isinstance(cause, OSError) and cause.strerror:
            return "the disk is full" if cause.errno in (errno.ENOSPC, errno.EDQUOT) else cause.strerror
        cause = cause.__context__
    if folder.is_dir() and (disk := shutil.disk_usage(folder)).total and disk.free < _LITTLE_SPACE:
        return "the disk is full"
    return str(error).strip().split("\n")[0]
