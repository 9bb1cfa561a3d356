"""CrowdHuman: people in crowds, one JSON object a line (``annotation_train.odgt``).

Full bodies are the objects; they may leave the picture on all sides.  Groups, statues and pictures of people (tag
``mask``) and persons marked as ignored are crowds here: neither learnt nor missed.
Format: https://www.crowdhuman.org/download.html.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

from internimage.data.formats.documents import read_text
from internimage.data.formats.gathering import Gathering, settled
from internimage.data.formats.pictures import PictureFinder
from internimage.data.formats.places import data_folder
from internimage.data.formats.shapes import BadEntryError, number, short
from internimage.data.objects import ObjectImages, Rule
from internimage.errors import DataError
from internimage.settings.data import DataOptions

_PERSON = "person"
_FILES = {part: (f"annotation_{part}.odgt", f"annotations/annotation_{part}.odgt") for part in ("train", "val")}
_FOLDERS = ("Images", "images", "{part}", "images/{part}", "CrowdHuman_{part}/Images", ".")


def recognise(root: Path) -> bool:
    """Whether the set's annotations lie at ``root``."""
    return bool(_files(root))


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    files = _files(root)
    with (files.get("train") or files["all"]).open("rb") as lines:
        return sum(1 for _ in islice(lines, most))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """Training and validation.

    Raises:
        DataError: entries contradict the format.
    """
    files = _files(root)
    chosen = {part: file for part, file in files.items() if part == wanted} or files
    gathered = {part: _gather(file, part) for part, file in chosen.items()}
    parts = settled(gathered, wanted, options, (_PERSON,))
    return {name: part.measured_by(Rule("crowdhuman")) for name, part in parts.items()}


def _files(root: Path) -> dict[str, Path]:
    if root.is_file():
        return {"all": root} if root.suffix.lower() == ".odgt" else {}
    there = {part: [root / name for name in names if (root / name).is_file()] for part, names in _FILES.items()}
    return {part: files[0] for part, files in there.items() if files}


def _gather(file: Path, name: str) -> Gathering:
    root = data_folder(file)
    part = Gathering(str(file), "CrowdHuman", PictureFinder([root / one.format(part=name) for one in _FOLDERS], root))
    for index, line in enumerate(read_text(file).splitlines(), 1):
        where = f"{file} line {index}"
        if not line.strip():
            continue
        with part.entry("pictures", where):
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{where} is not readable JSON: {error}") from error
            _read_picture(part, entry, where)
    return part


def _read_picture(part: Gathering, entry: Any, where: str) -> None:
    name = entry.get("ID") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not isinstance(entry.get("gtboxes"), list):
        raise BadEntryError(f"it is {short(entry)}; expected an object with ID and gtboxes")
    picture = part.find(f"{name}.jpg", None, name)
    for index, one in enumerate(entry["gtboxes"]):
        here = f"{where} gtboxes[{index}]"
        with part.entry("objects", here):
            box = one.get("fbox") if isinstance(one, dict) else None
            if not isinstance(box, list) or len(box) != 4:
                raise BadEntryError(f"fbox is {short(box)}; expected x, y, width and height in pixels")
            x, y, width, height = (number(value, "fbox") for value in box)
            if width <= 0 or height <= 0:
                part.leave_out("boxes of no extent", here, meant=True)
                continue
            extra = one.get("extra")
            ignored = one.get("tag") != _PERSON or (isinstance(extra, dict) and extra.get("ignore") == 1)
            part.add(picture, _PERSON, (x, y, x + width, y + height), None, ignored)
