"""Results of detectors in the formats of benchmark sets, beside COCO's; which one it is, a file's content tells.

- Pascal VOC: a folder of ``comp4_det_test_CLASS.txt``, each line with the picture, score, xmin, ymin, xmax and ymax; of
  pixels counted from 1, the last one inside.
- CrowdHuman: a JSON object a line, ``ID`` and ``dtboxes`` with ``box`` (x, y, width, height) and ``score``.
- BDD100K: a list of frames (or an object with one) with ``name`` and ``labels`` of ``category``, ``score`` and
  ``box2d``, whose last pixel is inside.
- OpenImages: a table of ``ImageId`` and ``PredictionString``: class, score, xmin, ymin, xmax, ymax again and again, in
  shares of the picture.

Formats: the sets' pages, see :mod:`internimage.data.formats.sets`.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from internimage.data.formats.coco_results import Found, Identity, ResultEntry, results_in
from internimage.data.formats.documents import LARGEST_SET, read_json, read_text
from internimage.data.formats.sets import bdd100k
from internimage.data.formats.shapes import BadEntryError, Box, number, short
from internimage.data.left_out import shortened
from internimage.data.objects import ObjectImages
from internimage.errors import DataError

NOUN = (
    "COCO's results (.json), or those of a benchmark set (VOC's folder of comp4_det_test_CLASS.txt, CrowdHuman's "
    ".odgt, BDD100K's .json, OpenImages' .csv)"
)
_VOC = re.compile(r"(comp\d.*_det_[^_]+)_(.+)\.txt")
_HEAD = 1 << 16  # bytes that tell a format
_SIX = 6  # values of a detection of OpenImages


class Results(NamedTuple):
    """What a file of results says.

    Attributes:
        found: entries by image.
        unknown: how many entries are left out, by the category that the data lack.
        notes: what a person should know, a line each.
    """

    found: Found
    unknown: Mapping[Identity, int] = {}
    notes: tuple[str, ...] = ()


def are_results(path: Path) -> bool:
    """Whether a file or folder may hold results of a detector."""
    if path.is_dir():
        return any(_VOC.fullmatch(file.name) for file in path.iterdir())
    return path.suffix.lower() == ".json" or _are_lines(path) or _is_table(path)


def read_results(path: Path, data: ObjectImages) -> Results:
    """The results in a file or, of VOC, in a folder.

    Raises:
        DataError: it is unreadable, or an entry is incomplete, or of an image or a class that ``data`` lack.
    """
    if path.is_dir():
        return _voc(path, data)
    if _are_lines(path):
        return Results(_filled(data, _crowd_human(path), once=True))
    if _is_table(path):
        return Results(_filled(data, _open_images(path), once=True, shares=True))
    content = read_json(path, largest=LARGEST_SET)
    frames = content.get("frames") if isinstance(content, dict) else content
    if isinstance(frames, list) and frames and isinstance(frames[0], dict) and "name" in frames[0]:
        return Results(_filled(data, _bdd100k(path, frames), once=True))
    return Results(*results_in(path, content, data))


class _Detection(NamedTuple):
    """One detection as a file has it.

    Attributes:
        where: it stands, for messages.
        label: name of the class, or the data's id of it.
        score: as it is written.
        box: x1, y1, x2, y2 in pixels from 0, or in shares of the picture.
    """

    where: str
    label: str
    score: Any
    box: Box


class _Picture(NamedTuple):
    """Detections of one picture, which a file names at ``where``."""

    where: str
    name: str
    detections: Sequence[_Detection]


def _filled(data: ObjectImages, pictures: Iterable[_Picture], *, once: bool = False, shares: bool = False) -> Found:
    """All detections by the images of a data set.

    Args:
        data: the data set.
        pictures: what a file has.
        once: whether a file names each picture once.
        shares: whether boxes are shares of the picture.
    """
    images, labels = _by_name(data), {name: label for label, name in enumerate(data.classes)}
    labels |= {one: label for label, one in enumerate(data.category_ids) if isinstance(one, str)}
    found: Found = {identity: [] for identity in data.table.identities}
    seen: set[Identity] = set()
    for picture in pictures:
        if picture.name not in images:
            raise DataError(
                f"{picture.where} is of image {picture.name}, which is not among the {len(data)} annotated ones of "
                f"{data.name}"
            )
        identity, size = images[picture.name]
        if once and identity in seen:
            raise DataError(f"{picture.where} is of image {picture.name} again; expected each image once")
        seen.add(identity)
        for one in picture.detections:
            if one.label not in labels:
                raise _unknown_class(one.where, one.label, data)
            box = _in_pixels(one, size) if shares else _checked(one)
            found[identity].append(ResultEntry(labels[one.label], float(one.score), box, None))
    return found


def _by_name(data: ObjectImages) -> dict[str, tuple[Identity, tuple[int, int]]]:
    """Identity and (height, width) of images by what the data call them, and by names of files of one image alone."""
    files = [Path(str(file)) for file in data.files]
    rows = zip(data.table.identities, data.table.sizes.tolist(), strict=True)
    known = [(identity, (height, width)) for identity, (height, width) in rows]
    counts = Counter(name for file in files for name in {file.name, file.stem})
    named = zip(files, known, strict=True)
    by_file = {name: one for file, one in named for name in (file.name, file.stem) if counts[name] == 1}
    return by_file | {one[0]: one for one in known if isinstance(one[0], str)}


def _unknown_class(where: str, label: str, data: ObjectImages) -> DataError:
    names = ", ".join(shortened(data.classes, 5))
    return DataError(f"{where} is of the class {label}, which is none of {data.name}; expected one of {names}")


def _checked(one: _Detection) -> Box:
    if not isinstance(one.score, int | float) or isinstance(one.score, bool) or not isfinite(one.score):
        raise DataError(f"{one.where}: score is {one.score!r}; expected a finite number")
    x1, y1, x2, y2 = one.box
    if not all(map(isfinite, one.box)) or x2 < x1 or y2 < y1:
        raise DataError(f"{one.where}: the box is {_written(one)}; expected that it ends where it begins or later")
    return one.box


def _in_pixels(one: _Detection, size: tuple[int, int]) -> Box:
    x1, y1, x2, y2 = _checked(one)
    if min(one.box) < -1 or max(one.box) > 2:
        raise DataError(f"{one.where}: the box is {_written(one)}; expected shares of the picture, 0 to 1")
    return x1 * size[1], y1 * size[0], x2 * size[1], y2 * size[0]


def _written(one: _Detection) -> str:
    return "x1 {:g}, y1 {:g}, x2 {:g}, y2 {:g}".format(*one.box)


def _voc(folder: Path, data: ObjectImages) -> Results:
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if (match := _VOC.fullmatch(file.name)) is None:
            continue
        if match[2] in files:
            raise DataError(
                f"{folder} has {files[match[2]].name} and {file.name}; expected the results of one detector"
            )
        if match[2] not in data.classes:
            raise _unknown_class(str(file), match[2], data)
        files[match[2]] = file

    def pictures() -> Iterator[_Picture]:
        for label, file in files.items():
            for index, line in enumerate(read_text(file).splitlines(), 1):
                where = f"{file} line {index}"
                if not (words := line.split()):
                    continue
                try:
                    score, x1, y1, x2, y2 = map(float, words[1:])
                except ValueError:
                    raise DataError(
                        f"{where} is {line[:80]!r}; expected picture, score, xmin, ymin, xmax and ymax"
                    ) from None
                yield _Picture(where, words[0], [_Detection(where, label, score, (x1 - 1, y1 - 1, x2, y2))])

    found = _filled(data, pictures())
    lacking = [name for name, count in zip(data.classes, data.counts(), strict=True) if count and name not in files]
    notes = [f"{folder} has no file for {', '.join(shortened(lacking, 5))}: all of them count as missed"] * bool(
        lacking
    )
    return Results(found, notes=tuple(notes))


def _are_lines(path: Path) -> bool:
    """Whether the first line is an object of CrowdHuman's results."""
    head = _head(path).lstrip()
    return head.startswith(b"{") and b'"dtboxes"' in head and b'"ID"' in head


def _crowd_human(path: Path) -> Iterator[_Picture]:
    for index, line in enumerate(read_text(path).splitlines(), 1):
        where = f"{path} line {index}"
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where} is not readable JSON: {error}") from error
        name, boxes = (entry.get(key) if isinstance(entry, dict) else None for key in ("ID", "dtboxes"))
        if not isinstance(name, str) or not isinstance(boxes, list):
            raise DataError(f"{where} is {short(entry)}; expected an object with ID and dtboxes")
        yield _Picture(where, name, [_person(f"{where} dtboxes[{place}]", one) for place, one in enumerate(boxes)])


def _person(where: str, given: Any) -> _Detection:
    box = given.get("box") if isinstance(given, dict) else None
    if not isinstance(box, list) or len(box) != 4 or given.get("tag", 1) not in (1, "person"):
        raise DataError(f"{where} is {short(given)}; expected a person with box (x, y, width, height) and score")
    try:
        x, y, width, height = (number(value, "box") for value in box)
    except BadEntryError as error:
        raise DataError(f"{where}: {error}") from None
    return _Detection(where, "person", given.get("score"), (x, y, x + width, y + height))


def _bdd100k(path: Path, frames: Sequence[Any]) -> Iterator[_Picture]:
    for index, frame in enumerate(frames):
        where = f"{path} [{index}]"
        name = frame.get("name") if isinstance(frame, dict) else None
        labels = (frame.get("labels") or []) if isinstance(frame, dict) else None
        if not isinstance(name, str) or not isinstance(labels, list):
            raise DataError(f"{where} is {short(frame)}; expected a frame with name and labels")
        yield _Picture(where, name, [_labelled(f"{where} labels[{place}]", one) for place, one in enumerate(labels)])


def _labelled(where: str, given: Any) -> _Detection:
    if not isinstance(given, dict):
        raise DataError(f"{where} is {short(given)}; expected category, score and box2d")
    try:
        label, box = bdd100k.class_of(given.get("category")), bdd100k.corners(given.get("box2d"))
    except BadEntryError as error:
        raise DataError(f"{where}: {error}") from None
    return _Detection(where, label, given.get("score"), box)


def _is_table(path: Path) -> bool:
    return b"PredictionString" in _head(path).split(b"\n", 1)[0]


def _open_images(path: Path) -> Iterator[_Picture]:
    try:
        header, *rows = csv.reader(read_text(path).splitlines())
    except csv.Error as error:
        raise DataError(f"{path} is not a readable CSV file: {error}") from error
    names = [name for name in header if name.lower() == "imageid"]
    if not names:
        raise DataError(f"{path} has the columns {', '.join(header)}; expected ImageId and PredictionString")
    image, text = header.index(names[0]), header.index("PredictionString")
    for index, row in enumerate(rows, 2):
        where = f"{path} line {index}"
        words = row[text].split() if len(row) == len(header) else []
        if len(row) != len(header) or len(words) % _SIX:
            raise DataError(
                f"{where} is cut: it ends with {' '.join(row)[-40:]!r}; expected class, score, xmin, ymin, xmax, ymax "
                "of each detection"
            )
        starts = range(0, len(words), _SIX)
        yield _Picture(where, row[image], [_six(where, words[start : start + _SIX]) for start in starts])


def _six(where: str, words: Sequence[str]) -> _Detection:
    try:
        score, x1, y1, x2, y2 = map(float, words[1:])
    except ValueError:
        said = " ".join(words)
        raise DataError(f"{where} has {said!r}; expected class, score, xmin, ymin, xmax and ymax") from None
    return _Detection(where, words[0], score, (x1, y1, x2, y2))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD).removeprefix(b"\xef\xbb\xbf")
    except OSError:
        return b""
