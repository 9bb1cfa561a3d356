"""Which data sets lie in a folder: what several tasks read in it, or in the folders below it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from internimage.contracts import TaskSpec, task_spec
from internimage.errors import ConfigError, DataError, MissingExtraError
from internimage.multimodal.generalist.data import KINDS, TASKS, DataSet, Kind, Sets
from internimage.settings.data import DataOptions

EXPECTED = (
    "a folder with captions or questions, COCO's annotations, or both; or a folder of folders, each with captions or "
    "questions, COCO's annotations or class folders"
)
Found = list[tuple[str, Kind, Path]]
"""Of each data set its name, kind and place."""


def reads(root: Path) -> bool:
    """Whether there is a data set to learn from."""
    return bool(find_sets(root))


def find_sets(root: Path) -> Found:
    """The data sets at ``root``, or in the folders below it."""
    root = root.expanduser()
    if not root.exists():
        return []
    here: Found = [(kind, kind, root) for kind in KINDS if kind != "names" and _reads(kind, root)]
    if here or not root.is_dir():
        return here
    below = [one for one in sorted(root.iterdir()) if one.is_dir() and not one.name.startswith(".")]
    found: Found = []
    for folder in below:
        kinds = [kind for kind in KINDS if _reads(kind, folder)]
        kinds = [kind for kind in kinds if kind != "names"] or kinds  # folders of classes may be parts of others
        found += [(folder.name if len(kinds) == 1 else f"{folder.name}-{kind}", kind, folder) for kind in kinds]
    if all(kind == "names" for _, kind, _ in found) and _reads("names", root):
        return [("names", "names", root)]  # the folders are parts or classes
    return found


def read_parts(root: Path, wanted: str | None, options: DataOptions) -> Mapping[str, Sets]:
    """The parts of all data sets by name, or the wanted one alone.

    A part has those sets that have it; what a set has no "val" for is measured by none of its own.

    Raises:
        DataError: there are none, or they contradict their format.
        ConfigError: ``options`` name a format, which is one set's alone.
    """
    root = root.expanduser()
    found = find_sets(root)
    if not found:
        what = "does not exist" if not root.exists() else "holds no data set"
        raise DataError(f"{root} {what}; expected {EXPECTED}")
    if options.reading is not None:
        raise ConfigError(f"--reading {options.reading} says how one data set is read; {root} has {len(found)}")
    read = [(name, kind, _read(kind, folder, wanted, options)) for name, kind, folder in found]
    names = list(dict.fromkeys(part for _, _, parts in read for part in parts))
    if "all" in names and len(names) > 1:
        bare = ", ".join(name for name, _, parts in read if "all" in parts)
        raise DataError(f"{root}: {bare} has no parts, other sets have {', '.join(names)}; divide it likewise")
    return {part: _part(root, part, read) for part in names}


def estimate(root: Path) -> int:
    """How many pictures there are to train on, about; 0 where nobody knows."""
    return sum(_spec(kind).estimate(folder) for _, kind, folder in find_sets(root))


def _part(root: Path, part: str, read: list[tuple[str, Kind, Mapping[str, object]]]) -> Sets:
    sets = tuple(DataSet(name, kind, parts[part]) for name, kind, parts in read if part in parts)
    lacking = [name for name, _, parts in read if part not in parts]
    notes = [f"{name} has no part {part}" for name in lacking]
    notes += [f"{one.name}: {note}" for one in sets for note in one.part.notes]
    left_out = tuple(one for some in sets for one in some.part.left_out)
    return Sets(str(root) if part == "all" else f"{root} ({part})", sets, left_out=left_out, notes=tuple(notes))


def _reads(kind: Kind, root: Path) -> bool:
    spec = _spec(kind)
    try:
        return spec.recognise(root) or (spec.reads is not None and spec.reads(root))
    except (DataError, MissingExtraError):  # what a task refuses outright is said by the one that is asked
        return False


def _read(kind: Kind, root: Path, wanted: str | None, options: DataOptions) -> Mapping[str, object]:
    return _spec(kind).read_parts(root, wanted, options)


def _spec(kind: Kind) -> TaskSpec:
    return task_spec(TASKS[kind])
