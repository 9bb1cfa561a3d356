"""Reading files of results in nuScenes' format, of any tool, sample by sample."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from internimage.data.formats.documents import LARGEST_SET, read_json
from internimage.driving.data.nuscenes_classes import ATTRIBUTES, MOST_BOXES
from internimage.driving.geometry.boxes import GlobalBoxes
from internimage.driving.metrics.filtering import checked
from internimage.driving.results.submission import Entry
from internimage.errors import DataError
from internimage.writing import counted

_SHOWN = 3  # identities in a message
_START = 1 << 16  # bytes in which a file of results says that it is one
_EXPECTED = 'expected nuScenes\' results, {"meta": ..., "results": {sample_token: [...]}}'


class _File(msgspec.Struct, gc=False):
    results: dict[str, msgspec.Raw]


_FILE = msgspec.json.Decoder(_File)
_ENTRIES = msgspec.json.Decoder(list[Entry])


def is_submission(path: Path) -> bool:
    """Whether a file looks like nuScenes' results; it is looked into, not read."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(_START)
    return start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" and b'"results"' in start


def read_submission(
    path: Path,
    classes: Sequence[str],
    tokens: Collection[str] | None = None,
    attributes: Collection[str] = ATTRIBUTES,
) -> dict[str, GlobalBoxes]:
    """The boxes of each sample of a file of results, in the order of the file.

    Args:
        path: of the file.
        classes: names; labels are places in it.
        tokens: of the samples that have to be there, no more and no less; None for any.
        attributes: that a box may have beside "".

    Raises:
        DataError: the file is unreadable, or it breaks a rule of the format.
    """
    results = _results(path)
    if tokens is not None:
        _compare_tokens(path, results, tokens)
    labels = {name: label for label, name in enumerate(classes)}
    return {token: _boxes(path, token, text, labels, attributes) for token, text in results.items()}


def _results(path: Path) -> Mapping[str, Any]:
    """The results of each sample, as JSON that is not decoded yet, or as plain data."""
    try:
        with path.open("rb") as file:
            return _FILE.decode(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).results
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: {error}; {_EXPECTED}") from None
    except (OSError, ValueError):  # another encoding, NaN, an empty file: said by the other reader if it is wrong
        content = read_json(path, largest=LARGEST_SET)
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict):
        raise DataError(f"{path} has no results; {_EXPECTED}")
    return results


def _compare_tokens(path: Path, results: Collection[str], tokens: Collection[str]) -> None:
    known, given = set(tokens), set(results)
    if unknown := [token for token in results if token not in known]:
        raise DataError(f"{path} has results of {_few(unknown)}, which the data lacks; expected those of its samples")
    if missing := [token for token in tokens if token not in given]:
        raise DataError(
            f"{path} lacks {_few(missing)} of {len(known)} samples; expected each sample, with an empty list where "
            "nothing is found"
        )


def _few(tokens: Sequence[str]) -> str:
    more = ", ..." if len(tokens) > _SHOWN else ""
    return f"{counted(len(tokens), 'sample')} ({', '.join(tokens[:_SHOWN])}{more})"


def _boxes(path: Path, token: str, text: Any, labels: Mapping[str, int], attributes: Collection[str]) -> GlobalBoxes:
    where = f"{path}: results of {token}"
    try:
        entries = _ENTRIES.decode(text) if isinstance(text, msgspec.Raw) else msgspec.convert(text, list[Entry])
    except msgspec.DecodeError as error:
        raise DataError(f"{where}: {error}") from None
    if len(entries) > MOST_BOXES:
        raise DataError(f"{where}: {len(entries)} boxes; expected {MOST_BOXES} at most")
    for index, one in enumerate(entries):
        if one.sample_token != token:
            raise DataError(f"{where}, box {index}: sample_token is {one.sample_token!r}; expected {token!r}")
        if one.detection_name not in labels:
            raise DataError(
                f"{where}, box {index}: detection_name is {one.detection_name!r}; expected one of {', '.join(labels)}"
            )
        if one.attribute_name and one.attribute_name not in attributes:
            expected = f"one of {', '.join(attributes)}, or nothing"
            raise DataError(f"{where}, box {index}: attribute_name is {one.attribute_name!r}; expected {expected}")
    lengths = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}
    centres, sizes, rotations, velocities = (
        np.array([getattr(one, name) for one in entries], np.float64).reshape(-1, length)
        for name, length in lengths.items()
    )
    scores = np.array([one.detection_score for one in entries], np.float64)
    columns = np.array([labels[one.detection_name] for one in entries], np.int64)
    given = tuple(sys.intern(one.attribute_name) for one in entries)
    checked(GlobalBoxes(centres, sizes, rotations, velocities, columns, given, scores), len(labels), f"{where}, box")
    unit = rotations / np.linalg.norm(rotations, axis=1, keepdims=True)
    return GlobalBoxes(centres, sizes, unit, velocities, columns, given, scores, np.full(len(entries), -1))
