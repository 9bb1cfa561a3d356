"""Where files with words lie, and what they are by a look at their beginning and end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from internimage.data.formats.parts import PART_NAMES, folders_in, part_mentioned
from internimage.data.formats.pictures import PictureFinder, is_hidden, is_output
from internimage.data.formats.places import mapped
from internimage.errors import DataError

_FOLDERS = ("annotations", "captions", "questions")
_LOOK = 2**16  # bytes at either end; annotations may be gigabytes
_LINE = 2**20


def json_files(root: Path, *keys: str) -> list[Path]:
    """JSON files that are ``root``, in it or in a folder of annotations, and show all of these keys at either end."""
    if root.is_file():
        files = [root]
    elif root.is_dir() and not is_output(root):
        places = [root, *(root / name for name in _FOLDERS)]
        files = [file for place in places if place.is_dir() for file in sorted(place.glob("*.json"))]
    else:
        files = []
    return [one for one in files if one.suffix.lower() == ".json" and not is_hidden(one.name) and _shows(one, keys)]


def base_of(root: Path) -> Path:
    """The folder that pictures lie below: of a file, its own or that above ``annotations``."""
    if root.is_dir():
        return root
    return root.parent.parent if root.parent.name.lower() in _FOLDERS else root.parent


def by_part(root: Path, files: list[Path], named: Callable[[Path], str | None]) -> dict[str, Path]:
    """The file of each part.

    Args:
        root: of the data, for messages.
        files: of one kind.
        named: the part that a file is called after.

    Raises:
        DataError: several files may be a part.
    """
    if root.is_file():
        return {"all": root}
    found: dict[str, Path] = {}
    for file in files:
        part = named(file) or ("all" if len(files) == 1 else file.stem)
        if part in found:
            raise DataError(f"{root} has {found[part].name} and {file.name} for {part}; name one of them: {file}")
        found[part] = file
    return found


def first_line(file: Path) -> dict[str, Any]:
    """The first entry of a file of JSON lines; empty where there is none."""
    try:
        with file.open("rb") as lines:
            content = json.loads(lines.readline(_LINE).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def estimated(files: Mapping[str, Path], pattern: re.Pattern[bytes], most: int, *, distinct: bool = False) -> int:
    """How often the training file, or that of all, shows a pattern, without parsing; ``distinct`` what it captures."""
    file = files.get("train") or files.get("all")
    if file is None:
        return 0
    with mapped(file) as content:
        found = pattern.finditer(content)
        return min(most, len({one[1] for one in found}) if distinct else sum(1 for _ in found))


def finder_of(root: Path, part: str, *first: str) -> PictureFinder:
    """Finds pictures in the named folders, in those of the part, in ``images`` and in the data's own."""
    base = base_of(root)
    words = PART_NAMES.get(part, ())  # type: ignore[call-overload]
    own = [
        path
        for place in (base, base / "images")
        if place.is_dir()
        for path in folders_in(place)
        if part_mentioned(path.name) in (part, *words)
    ]
    names = [base / name for name in first] + [base / "images" / name for name in first]
    return PictureFinder([*names, *own, base / "images", base], base)


def _shows(file: Path, keys: tuple[str, ...]) -> bool:
    try:
        with file.open("rb") as content:
            seen = content.read(_LOOK)
            content.seek(max(0, file.stat().st_size - _LOOK))
            seen += content.read(_LOOK)
    except OSError:
        return False
    return all(re.search(rb'"%s"\s*:' % key.encode(), seen) for key in keys)
