"""Settings of the server.  No torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from internimage.errors import ConfigError
from internimage.settings.views import TestTimeAugmentation, Tiles

Log = Literal["quiet", "requests", "names"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RUN_PARTS = ("best", "final")


@dataclass(frozen=True)
class ServedModel:
    """A model under the name that requests call it by.

    Attributes:
        name: letters, digits, dots, dashes and underscores, as it stands in addresses.
        place: a name of :func:`internimage.list_models`, a folder or an exported file.
    """

    name: str
    place: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"a model cannot be called {self.name!r} in addresses; expected letters, digits, dots, dashes and "
                "underscores: NAME=MODEL gives it another name"
            )

    @classmethod
    def parse(cls, text: str) -> ServedModel:
        """``MODEL``, whose last part is its name, or ``NAME=MODEL``."""
        name, equals, place = text.partition("=")
        if equals and name and "/" not in name and "\\" not in name:
            return cls(name, place)
        parts = Path(text).parts
        last = parts[-1] if parts else text
        if last in _RUN_PARTS and len(parts) > 1:  # runs/cells/best
            last = parts[-2]
        return cls(Path(last).stem if Path(last).suffix in (".onnx", ".xml") else last, text)


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker runs its models.

    Attributes:
        device, dtype: see :class:`internimage.Predictor`; several workers share several GPUs.
        threads: of the CPU; 0 divides the cores among the workers.
        batch: pictures that go through a model together at most.
        tiles, augmentation: see :class:`internimage.Predictor`.
        max_pixels: of a picture; None for Pillow's limit.
    """

    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    threads: int = 0
    batch: int = 8
    tiles: Tiles | None = None
    augmentation: TestTimeAugmentation | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        _at_least(1, batch=self.batch)
        _at_least(0, threads=self.threads)


@dataclass(frozen=True)
class ServingSettings:
    """How requests are taken.

    Attributes:
        host, port: where the server listens; port 0 takes a free one.
        workers: processes, each with all models.
        wait_ms: milliseconds that a picture waits at most for others to fill its batch.
        queue: pictures that wait at most; beyond it requests are refused at once.
        max_body_mb: of a request.
        memory_mb: of the bodies of all requests that are being read or wait.
        seconds: from a request's first byte to its answer.
        body_seconds: until a request has arrived whole.
        token: what requests carry as ``Authorization: Bearer TOKEN``; None for none.
        url_hosts: hosts from which pictures are fetched for whoever asks; "*" is all with public addresses.
        page: whether there is a page at ``/``.
        log: nothing of requests, a line each, or with the names of their pictures.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    wait_ms: float = 0.0
    queue: int = 32
    max_body_mb: float = 25.0
    memory_mb: float = 512.0
    seconds: float = 60.0
    body_seconds: float = 10.0
    token: str | None = None
    url_hosts: tuple[str, ...] = ()
    page: bool = False
    log: Log = "requests"

    def __post_init__(self) -> None:
        _at_least(1, workers=self.workers, queue=self.queue)
        _at_least(0, wait_ms=self.wait_ms, port=self.port)
        for name in ("max_body_mb", "memory_mb", "seconds", "body_seconds"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"--{name.replace('_', '-')} is {value}; expected more than 0")
        if self.port > 65535:
            raise ConfigError(f"--port is {self.port}; expected 0 to 65535")
        if self.memory_mb < self.max_body_mb:
            raise ConfigError(
                f"--memory-mb {self.memory_mb:g} is less than --max-body-mb {self.max_body_mb:g}: such a "
                "request would never be taken"
            )

    @property
    def max_body(self) -> int:
        """Bytes of a request."""
        return int(self.max_body_mb * 2**20)


def read_token(file: Path) -> str:
    """The token in a file, without the white space around it.

    Raises:
        ConfigError: there is no such file, or no token in it that an address line can carry.
    """
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file {file} cannot be read: {error}") from error
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"--token-file {file} has no usable token; expected 16 or more ASCII characters without spaces, such as "
            '`python -c "import secrets; print(secrets.token_urlsafe(32))"` prints'
        )
    return token


def _at_least(least: int, **values: float) -> None:
    for name, value in values.items():
        if not (value >= least and math.isfinite(value)):
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; expected {least} or more")
