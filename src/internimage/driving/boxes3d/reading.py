"""Which data hold drives with boxes in space, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from internimage.driving.data import nuscenes, single_frame
from internimage.driving.data.frames import Frames
from internimage.errors import ConfigError, DataError
from internimage.settings.data import DataOptions

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
