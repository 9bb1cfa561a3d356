"""Which data hold pictures with words, how they are read, and when they are another task's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from internimage.data.formats.beside import with_neighbours
from internimage.data.formats.parts import part_mentioned
from internimage.data.formats.tables import has_labels
from internimage.data.recognition import find_format
from internimage.errors import ConfigError, DataError, MissingExtraError
from internimage.multimodal.data.formats import coco_captions, easy_vqa, gqa, imagefolder, karpathy, lines, vqa
from internimage.multimodal.data.pairs import Pairs
from internimage.settings.data import DataOptions

_MOST = 1_000_000
# The first that recognises a folder reads it; --reading names another.
_FORMATS: Mapping[str, ModuleType] = {
    "lines": lines,
    "imagefolder": imagefolder,
    "karpathy": karpathy,
    "captions": coco_captions,
    "vqa": vqa,
    "gqa": gqa,
    "easy-vqa": easy_vqa,
}
EXPECTED = "; ".join(f"{one.EXAMPLE} ({one.NAME})" for one in _FORMATS.values())


def reads(root: Path) -> bool:
    """Whether pictures with words lie at ``root``, whatever else does."""
    return bool(_readings(root.expanduser()))


def recognise(root: Path) -> bool:
    """Whether pictures with words lie at ``root``, and neither boxes nor masks nor labels that a file names.

    Folders with pictures in them, which alone would be classes, are none where words are written about the pictures.
    What other tasks refuse outright, such as folders of two years, is nobody else's.
    """
    root = root.expanduser()
    if not reads(root):
        return False
    try:
        other = find_format(root)
    except DataError:
        return True
    return other is None or (other.module.endswith(".class_folders") and not _has_table(root))


def read_parts(root: Path, wanted: str | None, options: DataOptions) -> Mapping[str, Pairs]:
    """The parts of a data set by name, or the wanted one alone; of all, what lies beside them is counted too.

    Raises:
        DataError: there are none, or they contradict their format.
        ConfigError: ``options`` say something of another format.
    """
    root = root.expanduser()
    for option in ("boxes", "crowds"):
        if (value := getattr(options, option)) != getattr(DataOptions(), option):
            raise ConfigError(f"--{option} {value} is for objects in pictures; {root} is read for its words")
    offered = _readings(root)
    if not offered:
        what = "is not there" if not root.exists() else "holds no pictures with words"
        raise DataError(f"{root} {what}; expected {EXPECTED}")
    if options.reading is not None and options.reading not in offered:
        ways = " or ".join(f"{name} ({one.NAME})" for name, one in offered.items())
        raise ConfigError(f"--reading {options.reading}: {root} is read as {ways}")
    taken = options.reading or next(iter(offered))
    parts: dict[str, Pairs] = offered[taken].read_parts(root, wanted, options)
    if options.reading is None and len(offered) > 1:
        others = " or ".join(f"--reading {name} ({one.NAME})" for name, one in offered.items() if name != taken)
        parts = {
            name: replace(part, notes=(f"read as {offered[taken].NAME}; {others}", *part.notes))
            for name, part in parts.items()
        }
    return parts if list(parts) == [wanted] else with_neighbours(root, parts)


def estimate(root: Path) -> int:
    """How many pictures there are to train on, about; 0 where nobody knows."""
    root = root.expanduser()
    try:
        return next((int(one.estimate(root, _MOST)) for one in _readings(root).values()), 0)
    except (OSError, DataError, MissingExtraError):
        return 0


def _readings(root: Path) -> dict[str, ModuleType]:
    return {name: one for name, one in _FORMATS.items() if one.recognise(root)}


def _has_table(root: Path) -> bool:
    """Whether a table labels the pictures of a part."""
    tables = [file for suffix in ("csv", "tsv") for file in root.glob(f"*.{suffix}")] if root.is_dir() else []
    for file in tables:
        try:
            if (part_mentioned(file.stem) or file.stem in ("labels", "classes", "_classes")) and has_labels(file):
                return True
        except DataError:
            continue
    return False
