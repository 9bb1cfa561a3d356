"""What a path stands for where frames of drives are predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from internimage.driving.boxes3d.reading import EXPECTED, read_parts
from internimage.driving.data.frames import Frames
from internimage.errors import DataError
from internimage.images import ImageSource
from internimage.images.reader import is_url
from internimage.settings.data import DataOptions
from internimage.writing import counted


def frame_sources(text: str) -> Sequence[ImageSource]:
    """The frames of ``FOLDER``, or of one scene or part of it: ``FOLDER#scene-0103``, ``FOLDER#val``.

    Raises:
        DataError: there is nothing of the kind.
    """
    place, _, name = (text, "", "") if Path(text).expanduser().exists() else text.rpartition("#")
    root = Path(place or text).expanduser()
    if is_url(text) or root.is_file() or any(sign in text for sign in "*?[" if not root.exists()):
        raise DataError(f"{text}: expected a folder of drives, all of them or FOLDER#SCENE; it holds {EXPECTED}")
    parts = read_parts(root, None, DataOptions())
    chosen = _named(parts, name, root) if name else list(parts.values())
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
