"""Objects in images, as COCO's JSON describes them.

Format: https://cocodataset.org/#format-data.  What tools write differently is read too: ids that are texts, missing
sizes, polygons without a box, other spellings of paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from internimage.data.formats.coco_file import CocoFile
from internimage.data.formats.parts import PART_NAMES, folders_in, part_folders, part_mentioned, part_named
from internimage.data.formats.pictures import PictureFinder
from internimage.data.formats.places import mapped
from internimage.data.objects import ObjectImages
from internimage.errors import DataError
from internimage.settings.data import DataOptions

_OBJECTS = re.compile(rb'"(?:bbox|segmentation)"\s*:')
_PICTURES = re.compile(rb'"file_name"\s*:')
_EMPTY = re.compile(rb'"annotations"\s*:\s*\[\s*\]')
_LISTS = (b'"images"', b'"annotations"', b'"categories"')
_FOLDERS = ("annotations", "annotation", "labels", "ann", "anns")


def recognise(root: Path) -> bool:
    """Whether there are COCO's annotations at ``root``."""
    return any(True for _ in _annotation_files(root))


def estimate(root: Path, most: int = 100_000) -> int:
    """How many images there are to train on, counted up to ``most`` without parsing; 0 if none are found."""
    try:
        files = find_files(root)
    except DataError:
        return 0
    file = files.get("train") or files.get("all")
    return count_pictures(file, most) if file else 0


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """The parts of a data set as they lie there: "train", "val", "test", or "all"; the ``wanted`` one if there is such.

    ``root`` is an annotation file, or a folder with such files in it, in ``annotations`` or in folders that are called
    after parts.  A file belongs to the part that it, or else its folder, is called after: ``train.json``,
    ``instances_val2017.json``, ``test/_annotations.coco.json``; one file that is called otherwise is "all".  Pictures
    lie beside it, in ``images``, or in folders of the part's name; see
    :class:`internimage.data.formats.pictures.PictureFinder`.

    Raises:
        DataError: there are no annotations or no images, or :func:`read_coco` refuses a file.
    """
    files = find_files(root)
    if not files:
        raise DataError(f"{root} holds no COCO annotations; expected such as annotations/train.json")
    base = root
    if root.is_file():  # pictures of annotations/train.json lie in folders beside annotations
        base = root.parent.parent if root.parent.name.lower() in _FOLDERS else root.parent
    chosen = {part: file for part, file in files.items() if part == wanted} or files
    return {part: _read(file, _places(base, file, part), base, options) for part, file in chosen.items()}


def read_coco(annotations: Path, images: Path, options: DataOptions | None = None) -> ObjectImages:
    """Read one JSON file whose images lie in ``images`` at their ``file_name``.

    Classes come in the order of the categories' ids; of two categories of one name, one that nothing uses is dropped.
    ``iscrowd`` may be missing, ``bbox`` where there is a segmentation, ``height`` and ``width`` where the picture can
    be read.  Boxes without extent or outside the image and files that are not there are findings of
    :func:`internimage.tasks.detection.check.check_objects`, not errors.

    Raises:
        DataError: the file is unreadable, or contradicts itself: all such entries are listed, unless ``options`` drop
            them.
    """
    return _read(annotations, [images], images, options, needed=False)


def read_annotations(file: Path, options: DataOptions) -> ObjectImages:
    """One file, whether its pictures are there or not."""
    return read_coco(file, file.parent, options)


def find_files(root: Path) -> dict[str, Path]:
    """The annotation file of each part.

    Raises:
        DataError: several files may be a part.
    """
    if root.is_file():
        return {"all": root}
    ranked: dict[str, dict[int, list[Path]]] = {}
    for file, folder_part in _annotation_files(root):
        part, rank = _part_of(file, folder_part)
        ranked.setdefault(part, {}).setdefault(rank, []).append(file)
    named = {part: ranks for part, ranks in ranked.items() if part != "all"} or ranked
    found: dict[str, Path] = {}
    for part in (*PART_NAMES, "all"):
        if part in named:
            files = named[part][min(named[part])]
            if len(files) > 1:
                names = ", ".join(str(file.relative_to(root)) for file in files[:4])
                raise DataError(f"{root} has several annotation files for {part}: {names}; name one: {files[0]}")
            found[part] = files[0]
    return found


def _part_of(file: Path, folder_part: str | None) -> tuple[str, int]:
    """The part that a file is of, and how surely: 0 by a usual name, 1 by a word in its name, 2 by nothing."""
    stem = file.stem.removeprefix("instances_")
    if part := part_named(stem):
        return part, 0
    if folder_part is not None:
        return folder_part, 0 if stem.startswith("_annotations") else 1
    if part := part_mentioned(file.stem):
        return part, 1
    return "all", 2


def _annotation_files(root: Path) -> Iterator[tuple[Path, str | None]]:
    """Files with COCO's annotations, and the part that their folder is called after."""
    if root.is_file():
        if root.suffix.lower() == ".json" and _is_coco(root):
            yield root, None
        return
    if not root.is_dir():
        return
    places: list[tuple[Path, str | None]] = [(root, None)]
    places += [(path, None) for path in folders_in(root) if path.name.lower() in _FOLDERS]
    places += [(path, part) for part, path in part_folders(root).items()]
    places += [
        (path, part)
        for part, folder in part_folders(root).items()
        for path in folders_in(folder)
        if path.name.lower() in _FOLDERS
    ]
    for place, part in places:
        for file in sorted(place.glob("*.[jJ][sS][oO][nN]")):
            if file.is_file() and not file.name.startswith(".") and _is_coco(file):
                yield file, part


def _places(root: Path, file: Path, part: str) -> list[Path]:
    """Folders where the pictures of an annotation file may lie, the likeliest first."""
    stem = file.stem.removeprefix("instances_")
    names = [stem, *PART_NAMES.get(part, ("default",)), f"{part}2017"]  # type: ignore[call-overload]
    places = [file.parent] if part_named(file.parent.name) else []
    places += [root / name for name in names] + [root / "images" / name for name in names]
    return [*places, root / "images", root, file.parent]


def _is_coco(path: Path) -> bool:
    """By a look for the names of its lists and for boxes or outlines, of which files of class labels have none."""
    with mapped(path) as content:
        if any(content.find(name) < 0 for name in _LISTS):
            return False
        return bool(_OBJECTS.search(content) or _EMPTY.search(content))


def count_pictures(path: Path, most: int) -> int:
    """How many pictures a file names, up to ``most``, without parsing it."""
    with mapped(path) as content:
        return sum(1 for _ in islice(_PICTURES.finditer(content), most))


def _read(
    file: Path, places: list[Path], root: Path, options: DataOptions | None, *, needed: bool = True
) -> ObjectImages:
    return CocoFile(file, PictureFinder(places, root), needed).read(options or DataOptions())
