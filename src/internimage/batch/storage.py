"""Folders and buckets: what is read from and written to them.  Addresses with ``://`` go through fsspec."""

from __future__ import annotations

import functools
import io
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from internimage.errors import ConfigError, DataError, FileWriteError, ImageReadError, MissingExtraError
from internimage.images import IMAGE_SUFFIXES
from internimage.writing import written_aside

T = TypeVar("T")

_TRIES = 4
_PAUSE = 0.5  # seconds after the first failure, twice as many after each other
_PACKAGES = {
    "s3": "internimage[ray]",
    "s3a": "internimage[ray]",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
}


@functools.cache
def _open(place: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it; one for all threads of a process."""
    try:
        import fsspec  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise MissingExtraError("batch needs fsspec, which is not installed: pip install fsspec") from error
    if "://" not in place:  # as it is, whatever signs fsspec would read in it
        return fsspec.filesystem("file"), str(Path(place).absolute())
    try:
        system, path = fsspec.core.url_to_fs(place)
    except (ImportError, ValueError) as error:
        protocol = place.partition("://")[0]
        package = _PACKAGES.get(protocol)
        if package is None:
            raise ConfigError(f"{place}: nothing is known to open {protocol}:// ({error})") from error
        raise MissingExtraError(f"{place} needs a package: pip install '{package}'") from error
    return system, path.rstrip("/")


@dataclass(frozen=True)
class Storage:
    """A folder, here or in a bucket.

    Attributes:
        place: a path, or an address such as ``s3://bucket/photos``.
    """

    place: str

    def __str__(self) -> str:
        return self.place

    def pictures(self) -> tuple[list[str], list[str]]:
        """Paths below the folder of all files that are called like pictures, and of the others; sorted, none hidden.

        Raises:
            DataError: it is not there, or has none.
        """
        system, root = _open(self.place)
        found = self._tried(lambda: list(system.find(root)) if system.isdir(root) else None)
        if found is None:
            raise DataError(f"{self.place} is no folder; expected one with pictures")
        every = sorted(path[len(root) :].lstrip("/") for path in map(_slashes, found))
        names = [name for name in every if not any(part.startswith(".") for part in name.split("/"))]
        local = "file" in system.protocol
        pictures = [
            name
            for name in names
            if name.lower().endswith(IMAGE_SUFFIXES) and not (local and _endless(Path(root, name)))
        ]
        if not pictures:
            raise DataError(f"{self.place} has no pictures ({', '.join(IMAGE_SUFFIXES)}) among its {len(names)} files")
        return pictures, sorted(set(names) - set(pictures))

    def names(self) -> set[str]:
        """Files that lie directly in the folder; none where there is no folder."""
        system, root = _open(self.place)

        def listed() -> list[str]:
            system.invalidate_cache()
            return list(system.ls(root, detail=False)) if system.isdir(root) else []

        return {path.rsplit("/", 1)[-1] for path in map(_slashes, self._tried(listed))}

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None where it is gone.

        Raises:
            DataError: the storage does not answer.
        """
        system, root = _open(self.place)
        try:
            content: bytes = self._tried(lambda: system.cat_file(f"{root}/{name}"))
        except FileNotFoundError:
            return None
        return content

    def picture(self, name: str) -> bytes | ImageReadError:
        """The bytes of a picture, or why there are none.

        Raises:
            DataError: the storage does not answer, or asks for other credentials.
        """
        try:
            content = self.read(name)
        except PermissionError as error:
            if "file" not in _open(self.place)[0].protocol:  # a bucket's token has expired: no more of them will come
                raise DataError(f"{self.place}/{name} may not be read: {error}; then repeat the command") from error
            return ImageReadError(f"{name}: may not be read by this user")
        return ImageReadError(f"{name}: no such file") if content is None else content

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all.

        Raises:
            FileWriteError: it cannot be written.
        """
        system, root = _open(self.place)
        target = f"{root}/{name}"

        def put() -> None:
            if "file" in system.protocol:
                with written_aside(Path(target)) as aside:
                    aside.write_bytes(content)
            else:  # an object is there when it is whole
                system.pipe_file(target, content)

        try:
            self._tried(put)
        except (DataError, OSError) as error:
            raise FileWriteError(f"{self.place}/{name} cannot be written: {error}") from error

    def _tried(self, act: Callable[[], T]) -> T:
        """What an act gives, tried again where the storage does not answer."""
        for number in range(_TRIES):
            try:
                return act()
            except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
                raise
            except OSError as error:
                if number == _TRIES - 1:
                    raise DataError(f"{self.place} does not answer: {error}") from error
            time.sleep(_PAUSE * 2**number)
        raise AssertionError

    def read_ahead(self, names: Sequence[str], ahead: int) -> Iterator[tuple[str, bytes | ImageReadError]]:
        """Names and what :meth:`picture` gives of them, in order, so many read ahead in threads."""
        with ThreadPoolExecutor(min(ahead, 16), thread_name_prefix="internimage-storage") as pool:
            waiting = iter(names)
            started: list[tuple[str, Future[bytes | ImageReadError]]] = [
                (name, pool.submit(self.picture, name)) for name in islice(waiting, ahead)
            ]
            while started:
                name, future = started.pop(0)
                content = future.result()
                started += [(other, pool.submit(self.picture, other)) for other in islice(waiting, 1)]
                yield name, content


def _slashes(path: str) -> str:
    return path.replace("\\", "/") if os.sep == "\\" else path


def _endless(path: Path) -> bool:
    """Whether it is something that may never be read to its end, such as a pipe."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:  # said when it is read
        return False


def table(columns: dict[str, list[Any]], lists: dict[str, list[Any]]) -> bytes:
    """A Parquet file of columns of texts, and of columns whose cells are lists.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # type: ignore[import-not-found]
        import pyarrow.parquet as pq  # type: ignore[import-not-found]
    except ImportError as error:
        raise MissingExtraError("tables need pyarrow: pip install 'internimage[formats]'") from error
    arrays = {name: pa.array(column, pa.string()) for name, column in columns.items()}
    for name, column in lists.items():
        kind = pa.string() if name == "label" else pa.float64()
        arrays[name] = pa.array(column, pa.list_(kind))
    content = io.BytesIO()
    pq.write_table(pa.table(arrays), content)
    return content.getvalue()
