"""Which data hold drives with boxes in space, how they are read, and what a path stands for in prediction."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from internimage.driving.data import nuscenes, single_frame
from internimage.driving.data.frames import Frames
from internimage.errors import ConfigError, DataError
from internimage.images import ImageSource
from internimage.images.reader import is_url
from internimage.settings.data import DataOptions
from internimage.writing import counted

_FORMATS = (nuscenes, single_frame)
EXPECTED = "nuScenes' tables (v1.0-trainval/sample.json and others, with samples/), or frame.json with samples/"


def recognise(root: Path) -> bool:
    """Whether drives lie at ``root``."""
    return any(one.recognise(root) for one in _FORMATS)


def read_parts(root: Path, wanted: str | None, options: DataOptions) -> Mapping[str, Frames]:
    """The parts of a data set by name, or the wanted one alone.

    Raises:
        DataError: there are none, or they contradict their format.
        ConfigError: ``options`` say something of another format.
    """
    if options.boxes != DataOptions().boxes:
        raise ConfigError(f"--boxes {options.boxes} is for a JSON like COCO's; {root} is read as drives")
    if options.crowds != DataOptions().crowds:
        raise ConfigError(f"--crowds {options.crowds} is for objects in pictures; {root} is read as drives")
    for one in _FORMATS:
        if one.recognise(root):
            return one.read_parts(root, wanted, options)
    what = "is not there" if not root.exists() else "holds no drives"
    raise DataError(f"{root} {what}; expected {EXPECTED}")


def estimate(root: Path) -> int:
    """How many frames there are to train on; 0 where nobody knows."""
    try:
        return nuscenes.estimate(root, 1_000_000) if nuscenes.recognise(root) else 0
    except (OSError, DataError):
        return 0


def frame_sources(text: str) -> Sequence[ImageSource]:
    """The frames of ``FOLDER``, or of one scene or part of it: ``FOLDER#scene-0103``, ``FOLDER#val``.

    Those that contradict the format are left out, which is said on stderr.

    Raises:
        DataError: there is nothing of the kind.
    """
    place, _, name = (text, "", "") if Path(text).expanduser().exists() else text.rpartition("#")
    root = Path(place or text).expanduser()
    if is_url(text) or root.is_file() or any(sign in text for sign in "*?[" if not root.exists()):
        raise DataError(f"{text}: expected a folder of drives, all of them or FOLDER#SCENE; it holds {EXPECTED}")
    parts = read_parts(root, name or None, DataOptions(bad_entries="drop", allow_left_out=True))
    chosen = _named(parts, name, root) if name else list(parts.values())
    for one in (one for part in chosen for one in part.left_out if one.unit == "frames"):
        print(f"internimage: {root}: {one}", file=sys.stderr)
    return [part.source(frame) for part in chosen for frame in part.frames]


def _named(parts: Mapping[str, Frames], name: str, root: Path) -> list[Frames]:
    if name in parts:
        return [parts[name]]
    for part in parts.values():
        if name in part.scenes:
            return [part.chosen([i for i, frame in enumerate(part.frames) if frame.scene == name], name)]
    scenes = [scene for part in parts.values() for scene in part.scenes]
    raise DataError(
        f"{root} has no scene or part {name!r}; it has the parts {', '.join(parts)} and "
        f"{counted(len(scenes), 'scene')}, such as {', '.join(scenes[:3])}"
    )
