"""What lies beside the pictures of a data set and is not used: counted, so that nobody misses it in silence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from internimage.data.formats.pictures import pictures_below, unread_below
from internimage.data.left_out import LeftOut
from internimage.data.samples import Part
from internimage.images.inputs.unread import conversion


def unread(root: Path, files: Sequence[Path], total: int) -> LeftOut:
    """Pictures of formats that are not read, of ``total`` others."""
    suffixes = sorted({path.suffix.lower() for path in files})
    reason = f"{', '.join(suffixes)} {'is' if len(suffixes) == 1 else 'are'} not read"
    names = tuple(str(path.relative_to(root)) for path in files)
    return LeftOut(reason, "pictures", names, len(files), total + len(files), conversion(suffixes))


def with_neighbours(root: Path, parts: Mapping[str, Any]) -> dict[str, Any]:
    """All parts of a data set; the first one has what lies in the folders of their pictures and is in none of them.

    That is: pictures that no annotation names, of which any number may be, and pictures of formats that are not read,
    of which few may be.

    Args:
        root: of the data, a folder or a file.
        parts: every part that there is.
    """
    used = {file for part in parts.values() for file in part.files if isinstance(file, Path)}
    base = root if root.is_dir() else root.parent
    folders = _folders(base, parts.values())
    bare = [path for path in _found(folders, pictures_below) if path not in used]
    strange = [path for path in _found(folders, unread_below) if path not in used]
    named = "annotations" if base == root else f"annotations in {root.name}"
    found = (
        LeftOut(f"pictures without {named}", "files", tuple(str(path.relative_to(base)) for path in bare), len(bare)),
        unread(base, strange, len(used)),
    )
    more = tuple(one for one in found if one.count)
    first = next(iter(parts))
    return {
        name: replace(part, left_out=(*part.left_out, *more)) if name == first and more else part
        for name, part in parts.items()
    }


def _folders(root: Path, parts: Iterable[Part]) -> dict[Path, bool]:
    """Folders of the parts' pictures below ``root``, and whether all below them is meant too.

    Of each part it is the folder above all of its pictures; where that is the data's own, which has masks and more in
    it, each folder of a picture.
    """
    found: dict[Path, bool] = {}
    for part in parts:
        places = {file.parent for file in part.files if isinstance(file, Path)}
        places = {place for place in places if place.is_relative_to(root) and place.is_dir()}
        if not places:
            continue
        above = Path(os.path.commonpath(places))
        found |= dict.fromkeys(places, False) if above == root else {above: True}
    return found


def _found(folders: Mapping[Path, bool], look: Any) -> list[Path]:
    """What lies in folders, each once."""
    return sorted({path for folder, deep in folders.items() for path in look(folder, deep=deep)})
