"""Reading the files of labelling tools: JSON, XML, YAML and text, safely and with one kind of error."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

import msgspec

from internimage.errors import DataError, MissingExtraError

LARGEST = 2**30  # bytes; what labelling tools export is smaller, and what is larger fills the memory several times


T = TypeVar("T")

_MARK = codecs.BOM_UTF8

LARGEST_SET = 2**34
"""Bytes of the annotations of a benchmark set."""


def read_text(path: Path) -> str:
    """A text in UTF-8, or in UTF-16 if it says so.

    Raises:
        DataError: it is not there, too large, or no text.
    """
    content = _bytes(path)
    try:
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not readable text in UTF-8: {error}") from error


def read_json(path: Path, *, largest: int = LARGEST) -> Any:
    """The content of a JSON file of at most so many bytes.

    Raises:
        DataError: it is not there, too large, or no JSON.
    """
    try:
        return json.loads(_bytes(path, largest))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON: {error}") from error


def decode_json(path: Path, decoder: msgspec.json.Decoder[T], what: str, *, largest: int = LARGEST) -> T:
    """The content of a JSON file in the form of a decoder's type; what the type does not know is passed over quickly.

    Args:
        path: of the file.
        decoder: of the type.
        what: the file should be, for the message.
        largest: bytes of the file.

    Raises:
        DataError: it is not there, too large, no JSON, or of another form.
    """
    try:
        return decoder.decode(_bytes(path, largest).removeprefix(_MARK))
    except msgspec.ValidationError as error:
        raise DataError(f"{path} is no {what}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON: {error}") from error


def read_xml(path: Path) -> ElementTree.Element:
    """The first element of an XML file, which may define no entities: they could fill the memory or name other files.

    Raises:
        DataError: it is not there, too large, no XML, or has a document type.
    """
    parser = ElementTree.XMLParser(target=_WithoutDocumentType(path))
    try:
        parser.feed(_bytes(path))
        element: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # an unknown encoding is a LookupError
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not readable XML: {error}") from error
    return element


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, of plain values.

    Raises:
        DataError: it is not there, too large, or no YAML.
        MissingExtraError: PyYAML is not installed.
    """
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(f"{path} needs PyYAML: pip install 'internimage[formats]'") from error
    try:
        return yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error


def _bytes(path: Path, largest: int = LARGEST) -> bytes:
    try:
        if path.stat().st_size > largest:
            raise DataError(f"{path} has more than {largest >> 30} GiB; export it in several parts")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


class _WithoutDocumentType(ElementTree.TreeBuilder):
    """Refuses a document type when it begins, before any entity of it is known."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise DataError(f"{self._path} has a document type ({name}), which may define entities; remove <!DOCTYPE ...>")
