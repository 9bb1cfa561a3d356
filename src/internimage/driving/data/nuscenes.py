"""Drives as nuScenes lays them down: a folder of tables, ``samples/`` with the pictures, ``can_bus/`` with the motion.

Format: Caesar et al., "nuScenes: A multimodal dataset for autonomous driving", CVPR 2020;
https://www.nuscenes.org/nuscenes#data-format.  Boxes are of the ten classes of its detection task.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from internimage.data.formats.sets.nuscenes import CLASS_OF, WITHOUT_CLASS
from internimage.data.left_out import BadEntries, LeftOut, Unit, shortened
from internimage.driving.data.frames import NUSCENES_CLASSES, Frames
from internimage.driving.data.tables.driven import DrivenFrames
from internimage.driving.data.tables.drives import Array, Drives, read_drives
from internimage.driving.data.tables.scenes import scenes_of_parts
from internimage.driving.data.tables.tables import NEEDED, Scene, Tables
from internimage.errors import ConfigError, DataError
from internimage.settings.data import DataOptions
from internimage.writing import counted

_VERSIONS = ("v1.0-trainval", "v1.0-mini")  # the most usual first
_NO_PICTURE = "none of their pictures is there"


def recognise(root: Path) -> bool:
    """Whether a folder of nuScenes' tables lies below ``root``."""
    return bool(_versions(root))


def readings(root: Path) -> dict[str, str]:
    """The versions that there are, the most usual first, and what each is."""
    return {name: f"the tables in {name}/" for name in _versions(root)}


def estimate(root: Path, most: int) -> int:
    """How many frames there are to train on, by the number that each scene says."""
    version = next(iter(_versions(root)), None)
    if version is None:
        return 0
    scenes = Tables(root / version).read_all(_LongScene, "scene")
    parts, _ = scenes_of_parts(root, version, [one.name for one in scenes])
    train = set(parts.get("train", next(iter(parts.values()))))
    return min(most, sum(one.nbr_samples for one in scenes if one.name in train))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, Frames]:
    """The parts by their scenes, or the wanted one if there is such.

    Args:
        root: of the data.
        wanted: the part that is asked for.
        options: ``reading`` names a version where there are several; with ``bad_entries`` "drop", frames and boxes that
            contradict the format are left out.

    Raises:
        DataError: there are no tables or no frames, or some contradict the format.
        ConfigError: there is no such version.
    """
    options = options or DataOptions()
    version, notes = _chosen_version(root, options.reading)
    drives = read_drives(root, version)
    parts, without = scenes_of_parts(root, version, drives.scenes)
    if without:
        notes.append(f"{counted(len(without), 'scene')} of no part: {', '.join(shortened(without, 3))}")
    chosen = {name: scenes for name, scenes in parts.items() if name == wanted} or parts
    there = _pictures_there(root, drives)
    read = {}
    for name, scenes in chosen.items():
        called = str(root) if name == "all" else f"{root} ({name})"
        read[name] = _part(root, called, drives, set(scenes), there, notes, options.bad_entries == "drop")
    return read


def locations(root: Path, options: DataOptions | None = None) -> dict[str, str]:
    """By the name of each scene the place that it was driven in, "" where its log is not there.

    Raises:
        DataError: a table is missing.
        ConfigError: there is no such version.
    """
    version, _ = _chosen_version(root, (options or DataOptions()).reading)
    tables = Tables(root / version)
    places = {one.token: one.location for one in tables.read_all(_Log, "log")}
    return {one.name: places.get(one.log_token, "") for one in tables.read_all(_LoggedScene, "scene")}


class _Log(msgspec.Struct, gc=False):
    token: str
    location: str


class _LoggedScene(Scene):
    log_token: str = ""


class _LongScene(Scene):
    nbr_samples: int = 0


def _versions(root: Path) -> list[str]:
    """Folders of tables below the root, the most usual first."""
    if not root.is_dir():
        return []
    found = [
        path.name
        for path in sorted(root.iterdir())
        if path.is_dir() and all((path / f"{table}.json").is_file() for table in NEEDED)
    ]
    return [name for name in _VERSIONS if name in found] + [name for name in found if name not in _VERSIONS]


def _chosen_version(root: Path, asked: str | None) -> tuple[str, list[str]]:
    versions = _versions(root)
    if not versions:
        tables = ", ".join(f"{table}.json" for table in NEEDED)
        raise DataError(f"{root} has no folder of nuScenes' tables; expected one such as v1.0-mini/ with {tables}")
    if asked is not None and asked not in versions:
        raise ConfigError(f"{root} cannot be read as {asked!r}; it has {', '.join(versions)}")
    chosen = asked or versions[0]
    others = [name for name in versions if name != chosen]
    if asked or not others:
        return chosen, []
    return chosen, [f"read as {chosen}; --reading, in Python DataOptions(reading=...), reads {', '.join(others)}"]


def _pictures_there(root: Path, drives: Drives) -> Array:
    """Of each frame whether any of its pictures is there; each folder is listed once."""
    names: dict[str, frozenset[str]] = {}
    there = np.zeros(len(drives.files), bool)
    for view in np.flatnonzero(drives.view_channels >= 0):
        folder, _, name = drives.files[view].rpartition("/")
        if folder not in names:
            path = root / folder
            names[folder] = frozenset(os.listdir(path)) if path.is_dir() else frozenset()  # noqa: PTH208
        there[view] = name in names[folder]
    before = np.concatenate([[0], np.cumsum(there)])
    found: Array = before[drives.view_starts[1:]] > before[drives.view_starts[:-1]]
    return found


def _part(
    root: Path, name: str, drives: Drives, scenes: set[str], there: Array, notes: Sequence[str], drop: bool
) -> Frames:
    of_part = np.array([one in scenes for one in drives.scenes], bool)
    mine = of_part[drives.scene_of]
    left_out = [*_unusable(drives, of_part, mine, drop)]
    shown = mine & drives.usable & there
    if not shown.any() and (mine & drives.usable).any():
        raise DataError(f"{name}: none of the pictures is there, such as {root / _a_picture(drives, mine)}")
    if lost := int((mine & drives.usable & ~there).sum()):
        names = tuple(drives.tokens[row] for row in np.flatnonzero(mine & drives.usable & ~there)[:3])
        left_out.append(LeftOut(_NO_PICTURE, "frames", names, lost, int(mine.sum()), "an incomplete download?"))
    present = {CLASS_OF[one] for one in drives.categories if one in CLASS_OF}
    classes = tuple(one for one in NUSCENES_CLASSES if one in present)
    left_out += _without_class(drives, shown)
    labels = [classes.index(CLASS_OF[one]) if one in CLASS_OF else -1 for one in drives.categories]
    frames = DrivenFrames(
        root,
        drives,
        np.flatnonzero(shown),
        np.array(labels, np.int64),
    )
    told = (*notes, *_notes(drives, of_part))
    return Frames(name, classes, frames, left_out=tuple(left_out), notes=told, listed=classes == NUSCENES_CLASSES)


def _unusable(drives: Drives, of_part: Array, mine: Array, drop: bool) -> tuple[LeftOut, ...]:
    """What contradicts the format, counted by what cannot be used for it."""
    bad = BadEntries()
    for one in drives.problems:
        if one.scene < 0 or of_part[one.scene]:
            bad.add(one.unit, one.text)
    totals: dict[Unit, int] = {"frames": int(mine.sum()), "objects": int((np.diff(drives.box_starts) * mine).sum())}
    lost = int((mine & ~drives.usable).sum())
    found = bad.settle(drop, totals)
    return tuple(replace(one, count=max(one.count, lost)) if one.unit == "frames" else one for one in found)


def _without_class(drives: Drives, shown: Array) -> list[LeftOut]:
    """Boxes of categories that are of no class; nuScenes' own tools leave most of them out too."""
    frames = np.repeat(np.arange(len(shown)), np.diff(drives.box_starts))
    counts = Counter[str]()
    for category, number in enumerate(np.bincount(drives.box_categories[shown[frames]])):
        if number:
            counts[drives.categories[category]] += int(number)
    found = []
    total = counts.total()
    for meant in (True, False):
        names = {
            name: number
            for name, number in counts.most_common()
            if name not in CLASS_OF and (name in WITHOUT_CLASS) == meant
        }
        if names:
            listed = tuple(f"{name} {number}" for name, number in names.items())
            found.append(LeftOut("of no class", "objects", listed, sum(names.values()), total, meant=meant))
    return found


def _a_picture(drives: Drives, mine: Array) -> str:
    row = int(np.flatnonzero(mine & drives.usable)[0])
    return drives.files[int(drives.view_starts[row + 1]) - 1]


def _notes(drives: Drives, of_part: Array) -> Iterator[str]:
    with_frames = np.bincount(drives.scene_of, minlength=len(drives.scenes)) > 0
    still = np.flatnonzero(of_part & with_frames & ~drives.felt)
    if len(still):
        names = shortened([drives.scenes[one] for one in still], 3)
        yield f"{counted(len(still), 'scene')} without can_bus, whose records are taken as zeros: {', '.join(names)}"
    if (drives.view_channels >= 0).all():
        yield "no lidar: boxes are in the ego frame, turned so that y points forward"
    if not len(drives.points):
        yield "no boxes: nobody annotated these drives"
