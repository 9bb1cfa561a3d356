"""Which scene is of which part: by a file beside the data, or by nuScenes' own splits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from internimage.data.formats.documents import read_json
from internimage.data.formats.parts import part_named
from internimage.errors import DataError

SPLITS = "splits.json"
_RELEASED = ("v1.0-trainval", "v1.0-mini", "v1.0-test")


@cache
def nuscenes_splits() -> dict[str, frozenset[str]]:
    """Names of the scenes of "train" (700), "val" (150), "test" (150), "mini_train" (8) and "mini_val" (2)."""
    content = json.loads(files("internimage.driving.data.tables").joinpath("nuscenes_splits.json").read_text("utf-8"))
    return {
        name: frozenset(f"scene-{number:04d}" for first, last in runs for number in range(first, last + 1))
        for name, runs in content["splits"].items()
    }


def scenes_of_parts(root: Path, version: str, scenes: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The scenes of each part, and those that are of none.

    A ``splits.json``, ``{"train": [names of scenes], "val": [...]}``, in the root or, as nuScenes' own tools have it,
    beside the tables comes first, then nuScenes' splits; scenes of neither are one part "all".

    Raises:
        DataError: the file is not of this form, has a scene twice, or none of those that there are.
    """
    given = next((path for path in (root / SPLITS, root / version / SPLITS) if path.is_file()), None)
    if given is not None:
        splits = _read(given)
    else:
        known = nuscenes_splits() if version in _RELEASED else {}  # others may have other scenes of such names
        mini = "mini_" if version.endswith("mini") else ""
        splits = {name: known[mini + name] for name in ("train", "val", "test") if mini + name in known}
    found = {name: [one for one in scenes if one in names] for name, names in splits.items()}
    parts = {name: names for name, names in found.items() if names}
    if not parts and given is not None:
        raise DataError(f"{given} names none of the scenes of {version}, such as {', '.join(scenes[:3])}")
    if not parts:
        return {"all": list(scenes)}, []
    divided = set().union(*parts.values())
    return parts, [one for one in scenes if one not in divided]


def _read(path: Path) -> dict[str, frozenset[str]]:
    content = read_json(path)
    lists = content.values() if isinstance(content, dict) else ()
    if not lists or not all(isinstance(one, list) and all(isinstance(name, str) for name in one) for one in lists):
        raise DataError(f'{path}: expected {{"train": [names of scenes], "val": [names of scenes]}}')
    seen: dict[str, str] = {}
    for part, names in content.items():
        for name in names:
            if seen.setdefault(name, part) != part:
                raise DataError(f"{path}: {name} is in {seen[name]} and in {part}; expected every scene in one part")
    return {part_named(part) or part: frozenset(names) for part, names in content.items()}
