"""What is known of benchmark sets as a whole: how many pictures they have and where, which findings are usual.

``sizes.json`` has the number of pictures of each part, the folders that all of them lie in, where these have names of
their own, and the archives that they come in.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

from internimage.data.left_out import shortened
from internimage.data.samples import Part

Finding = Literal["outside", "duplicates", "empty_classes", "without_objects", "beside"]
_UNSEEN = "classes that a part of the set does not show"
_USUAL: Mapping[str, Mapping[Finding, str]] = {
    "BDD100K": {
        "beside": "137 training pictures have no entry in its labels",
        "without_objects": "labels may be null",
    },
    "CrowdHuman": {"outside": "full bodies are drawn beyond the picture's edges"},
    "LVIS": {"without_objects": "classes were looked for in vain"},
    "Objects365": {
        "outside": "annotators drew beyond the edges; training cuts such boxes",
        "duplicates": "some objects are listed twice",
    },
    "OpenImages": {"without_objects": "classes were looked for in vain"},
    "iNaturalist's JSON": {"empty_classes": _UNSEEN},
}
_YEAR = re.compile(r"(VOC20\d\d)(?:test)?(?: \((\w+)\))?(?:, |$)")
_BY_FILE = {  # formats that others have too
    "COCO": ("COCO 2017", re.compile(r"instances_(?:train|val)2017")),
    "iNaturalist's JSON": ("iNaturalist 2018", re.compile(r"(?:train|val)2018")),
}


class _Whole(NamedTuple):
    """A part as its authors made it.

    Attributes:
        name: of the set and the part.
        pictures: how many.
        folders: that directly hold them; empty where they have no known names.
        archives: that they come in; empty where nobody needs to be told.
    """

    name: str
    pictures: int
    folders: tuple[str, ...] = ()
    archives: str = ""


def usual(part: Part, finding: Finding) -> str | None:
    """Why a finding is usual for the set that a part is of, however often it occurs; None where it is not."""
    if finding == "empty_classes" and part.listed:
        return _UNSEEN
    return _USUAL.get(part.format, {}).get(finding)


def shortfall(name: str, part: Part) -> list[str]:
    """A line where a part of a known set has fewer pictures on the disk than its authors gave it; else nothing.

    Args:
        name: of the part, such as "train".
        part: as it was read.
    """
    whole = _whole(name, part)
    if whole is None:
        return []
    given = list(part.files)
    there, lost = _there([file for file in given if isinstance(file, Path)])
    count = len(given) - sum(isinstance(file, Path) for file in given) + len(there)
    if count >= whole.pictures:
        return []
    seen = {file.parent.name for file in there}
    without = [folder for folder in whole.folders if folder not in seen] if whole.folders else lost
    none_of = f", none of {', '.join(shortened(without, 5))}" if without else ""
    come = f"; they come in {whole.archives}" if whole.archives else ""
    text = f"{count} of the {whole.pictures} pictures of {whole.name} are here{none_of}{come}"
    return [f"{text}: an incomplete download, unless a part of the set is meant"]


def _whole(name: str, part: Part) -> _Whole | None:
    if part.format == "Pascal VOC":
        return _whole_years(part)
    file = Path(part.name)
    called, pattern = _BY_FILE.get(part.format, (part.format, None))
    of_another = pattern is not None and not pattern.fullmatch(file.stem)
    if of_another or (called == "OpenImages" and "challenge" in file.name):  # a choice of its pictures
        return None
    keys = [key for key in _sizes() if called == key or called.startswith(f"{key},")]
    found = _sizes()[max(keys, key=len)].get(name) if keys else None
    if found is None:
        return None
    folders, archives = tuple(found.get("folders", ())), found.get("archives", "")
    return _Whole(f"{max(keys, key=len)} ({name})", found["pictures"], folders, archives)


def _whole_years(part: Part) -> _Whole | None:
    """Of the lists of VOC's years that a part was put together from, as its notes name them."""
    lists = dict.fromkeys(found for note in part.notes for found in _YEAR.findall(note))
    sizes = [_sizes().get(year, {}).get(which) for year, which in lists]
    known = [size["pictures"] for size in sizes if size is not None]
    if not known or len(known) < len(sizes):
        return None
    return _Whole(f"Pascal VOC ({', '.join(map(' '.join, lists))})", sum(known))


@cache
def _sizes() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    content: Mapping[str, Mapping[str, Mapping[str, Any]]] = json.loads(
        files("internimage.data.formats.sets").joinpath("sizes.json").read_text(encoding="utf-8")
    )
    return content


def _there(given: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Files that are there, and the topmost of the folders that are not; each folder is listed once."""
    folders = {file.parent for file in given}
    names = {folder: frozenset(os.listdir(folder)) for folder in folders if folder.is_dir()}  # noqa: PTH208
    lost = {_topmost(folder) for folder in folders if folder not in names}
    there = [file for file in given if file.name in names.get(file.parent, ())]
    return there, _last_steps(lost)


def _topmost(folder: Path) -> Path:
    """The highest folder above one that is not there, or itself, that is not there."""
    while not folder.parent.is_dir():
        folder = folder.parent
    return folder


def _last_steps(folders: Iterable[Path]) -> list[str]:
    return sorted("/".join(folder.parts[-2:]) for folder in folders)
