"""The long lists of a JSON object, read in pieces: a file of several gigabytes passes through a few megabytes."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from internimage.data.formats.documents import LARGEST
from internimage.errors import DataError

PIECE = 2**24  # bytes
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{}]', re.DOTALL)  # a quote alone: the text goes on
_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb"[^\s,\]}]+")
_GUESSES = 2
_NEAR = 64  # bytes of white space between two entries, at most, for a guess to find it


@dataclass(frozen=True)
class Piece:
    """Some entries of a list that follow each other.

    Attributes:
        key: of the list.
        first: the place of the first of them in the list.
        offset: of their text in the file.
        text: a JSON list of them.
        content: what the list's reader made of it.
    """

    key: str
    first: int
    offset: int
    text: bytes
    content: Any


def read_pieces(path: Path, readers: Mapping[str, Callable[[bytes], Any]], size: int = PIECE) -> Iterator[Piece]:
    """The entries of some lists of a JSON object, in the order of the file.

    Args:
        path: of the file, in UTF-8, 16 or 32.
        readers: of each list, what makes something with a length of the text of a JSON list; :class:`ValueError` if it
            is none.
        size: bytes of a piece, about.

    A list that is empty gives one empty piece; a list that is there twice or is none gives nothing more.

    Raises:
        DataError: the file cannot be read, or is no JSON.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(3 if start.startswith(b"\xef\xbb\xbf") else 0)
            source: BinaryIO = file
            if b"\0" in start or start[:2] in (b"\xff\xfe", b"\xfe\xff"):
                content = file.read()
                source = io.BytesIO(content.decode(json.detect_encoding(content)).encode())
            yield from _Stream(source, size).lists(readers)
    except OSError as error:
        raise DataError(f"{path} is not readable JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        _refuse(path, error)


def read_list(path: Path, read: Callable[[bytes], Any], size: int = PIECE) -> Iterator[Piece]:
    """The entries of a file that is one JSON list; arguments and pieces as of :func:`read_pieces`, their key empty.

    Raises:
        DataError: the file cannot be read, or is no JSON list in UTF-8.
    """
    try:
        with path.open("rb") as file:
            yield from _Stream(file, size).records(read)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        _refuse(path, error)


def read_entries(text: bytes) -> list[Any]:
    """A JSON list of anything.

    Raises:
        ValueError: it is none.
    """
    content = json.loads(text)
    assert isinstance(content, list)
    return content


def _refuse(path: Path, error: Exception) -> NoReturn:
    """Say where a file is wrong, which the reader of one piece does not know."""
    reason: Exception = error
    if path.stat().st_size <= LARGEST:
        try:
            json.loads(path.read_bytes())
        except (ValueError, RecursionError) as whole:
            reason = whole
    raise DataError(f"{path} is not readable JSON: {reason}") from error


class _Stream:
    """A JSON object that is read from its beginning to its end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._text = b""
        self._at = 0
        self._offset = file.tell()  # of the text in the file

    def lists(self, readers: Mapping[str, Callable[[bytes], Any]]) -> Iterator[Piece]:
        if self._next() != b"{":
            json.loads(self._text + self._file.read(LARGEST))
            return
        self._at += 1
        seen: set[str] = set()
        while self._next() != b"}":
            if seen:
                self._pass(b",")
            key = self._key()
            self._pass(b":")
            if key in readers and key not in seen and self._next() == b"[":
                self._at += 1
                yield from self._entries(key, readers[key])
            else:
                self._skip()
            seen.add(key)
        self._at += 1
        if self._next():
            raise ValueError("something follows the end of the object")

    def records(self, read: Callable[[bytes], Any]) -> Iterator[Piece]:
        """The same of a list that is the whole file."""
        if self._next() != b"[":
            raise ValueError("it does not begin with a list")
        self._at += 1
        yield from self._entries("", read)
        if self._next():
            raise ValueError("something follows the end of the list")

    def _entries(self, key: str, read: Callable[[bytes], Any]) -> Iterator[Piece]:
        first = 0
        if self._next() == b"]":
            yield Piece(key, 0, self._offset + self._at, b"[]", read(b"[]"))
            self._at += 1
            return
        while True:
            while len(self._text) - self._at < self._size and self._more():
                pass
            closed, text, content = self._cut(read)
            yield Piece(key, first, self._offset + self._at, text, content)
            first += len(content)
            self._at += len(text) - 1  # without its brackets, with the comma or bracket that follows
            if closed:
                return

    def _cut(self, read: Callable[[bytes], Any]) -> tuple[bool, bytes, Any]:
        """As many whole entries as are here: whether the list ends with them, their text, and what is made of it."""
        window = self._text[self._at :]
        start = len(window)
        for _ in range(_GUESSES):  # from the end: an object that follows a comma is an entry, most often
            start = window.rfind(b"{", 0, start)
            before = window[max(0, start - _NEAR) : max(0, start)].rstrip()
            if before.endswith(b","):
                stop = window.rindex(b",", 0, start)
                text = b"".join((b"[", window[:stop], b"]"))
                try:
                    return False, text, read(text)
                except ValueError:
                    continue
        stop, closed = self._whole_entries()
        text = b"".join((b"[", self._text[self._at : self._at + stop], b"]"))
        return closed, text, read(text)

    def _whole_entries(self) -> tuple[int, bool]:
        """Where the last whole entry ends, and whether the list does; text is read until there is one."""
        while True:
            depth, last = 0, 0
            for token in _TOKEN.finditer(self._text, self._at):
                mark = token[0]
                if mark == b'"':
                    break
                if mark in (b"]", b"}"):
                    depth -= 1
                    if depth < 0:
                        return token.start() - self._at, True
                    if not depth:
                        end = _SPACE.match(self._text, token.end()).end()  # type: ignore[union-attr]
                        last = end - self._at if self._text[end : end + 1] == b"," else last
                elif mark in (b"[", b"{"):
                    depth += 1
            if last:
                return last, False
            if not self._more():
                raise ValueError("it ends inside a list")

    def _skip(self) -> None:
        """Pass a value of any kind."""
        mark = self._next()
        if mark == b'"':
            self._key()
        elif mark in (b"[", b"{"):
            self._skip_nested()
        else:
            while True:
                scalar = _SCALAR.match(self._text, self._at)
                if scalar is None:
                    raise ValueError("a value is missing")
                if scalar.end() < len(self._text) or not self._more():
                    break
            json.loads(scalar[0])
            self._at = scalar.end()

    def _skip_nested(self) -> None:
        start, depth = self._at, 0
        while True:
            again = None
            for token in _TOKEN.finditer(self._text, start):
                if token[0] == b'"':
                    again = token.start()
                    break
                depth += token[0] in (b"[", b"{")
                depth -= token[0] in (b"]", b"}")
                if not depth:
                    self._at = token.end()
                    return
            self._at = len(self._text) if again is None else again
            if not self._more():
                raise ValueError("it ends inside a value")
            start = self._at

    def _key(self) -> str:
        self._next()
        while (found := _STRING.match(self._text, self._at)) is None:
            if not self._more():
                raise ValueError("a text is missing or does not end")
        self._at = found.end()
        text: str = json.loads(found[0])
        return text

    def _pass(self, mark: bytes) -> None:
        if self._next() != mark:
            raise ValueError(f"{mark.decode()} is missing")
        self._at += 1

    def _next(self) -> bytes:
        """The next byte that is no white space; nothing at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def _more(self) -> bool:
        read = self._file.read(self._size)
        self._offset += self._at
        self._text, self._at = self._text[self._at :] + read, 0
        return bool(read)
