"""One folder a class, whole or in parts; beside it the other ways to label whole images: tables, archives, JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from itertools import islice
from pathlib import Path

from internimage.data.formats.archives import find_shards, read_shards, read_zip
from internimage.data.formats.beside import unread
from internimage.data.formats.inaturalist import is_inaturalist, read_inaturalist
from internimage.data.formats.mask_folders import IMAGE_FOLDERS, MASK_FOLDERS
from internimage.data.formats.parts import PART_NAMES, PartName, folders_in, part_folders, part_mentioned, part_named
from internimage.data.formats.pictures import is_hidden, is_output, pictures_below, unread_below
from internimage.data.formats.tables import has_labels, read_csv
from internimage.data.left_out import LeftOut, shortened
from internimage.data.samples import ImageFile, LabelledImage, LabelledImages
from internimage.errors import DataError
from internimage.images.reader import IMAGE_SUFFIXES
from internimage.settings.data import DataOptions

_TABLES = (".csv", ".tsv")
_WHOLE = ("_classes.csv", "labels.csv", "labels.tsv", "classes.csv")  # tables of a folder's pictures
EMPTY = "empty"
"""The reason of folders that hold nothing at all: classes that somebody meant to fill."""

_READERS: Mapping[str, Callable[[Path], LabelledImages]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".zip": read_zip,
    ".json": read_inaturalist,
    ".tar": lambda shard: read_shards(str(shard), [shard]),
}


def recognise(root: Path) -> bool:
    """Whether there are labelled images at ``root``: class folders, a table, archives, or iNaturalist's JSON."""
    if root.is_file():
        return root.suffix.lower() in _READERS and (root.suffix.lower() != ".json" or is_inaturalist(root))
    if not root.is_dir():
        return False
    folders = (*part_folders(root).values(), root)
    return bool(_part_files(root)) or any(_table(place) or _holds_classes(place) for place in folders)


def estimate(root: Path, most: int) -> int:
    """About how many images there are to train on, without looking into all of the files."""
    tables = (
        [root] if root.is_file() else [root / name for name in ("train.csv", "train.tsv", "train_map.txt", *_WHOLE)]
    )
    for table in tables:
        if table.suffix in (*_TABLES, ".txt") and table.is_file():
            with table.open("rb") as file:
                return sum(1 for _ in islice(file, most))
    train = part_folders(root).get("train", root) if root.is_dir() else root
    if shards := [root] if root.suffix == ".tar" else find_shards(train, "train") or find_shards(train):
        return min(most, len(read_shards(str(root), shards[:1])) * len(shards))
    if root.is_dir() and not any(root.glob("train*.*")):
        return min(most, len(pictures_below(train)))
    parts = read_parts(root)
    return min(most, len(parts.get("train") or parts["all"]))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, LabelledImages]:
    """The parts of a data set as they lie there: "train", "val", "test", or "all" if it is not divided.

    ``root`` is a folder with parts (see :mod:`internimage.data.formats.parts` for their names), each of them

    - a folder, with one folder a class, with WebDataset shards (``*.tar``) or with a table (``_classes.csv``);
    - a table, ``train.csv``, ``train.tsv`` or ``train_labels.csv``; see :mod:`internimage.data.formats.tables`;
    - a zip archive, ``train.zip``, with ``train_map.txt`` or with one folder a class in it;
    - iNaturalist's ``train2018.json`` (and ``val2018.json``; its test images have no labels);
    - WebDataset shards, ``train*.tar``.

    The first kind that is there counts.  Or ``root`` is itself one of these, without parts.

    Raises:
        DataError: nothing of the kind is there, or it is plainly something else than classes.
    """
    if root.is_file():
        return {"all": _READERS.get(root.suffix.lower(), read_csv)(root)}
    if not root.is_dir():
        raise DataError(f"{root} does not exist; expected a folder of images or archives, or a CSV file")
    folders = {part: path for part, path in part_folders(root).items() if not _is_a_class(path, root)}
    found: dict[str, LabelledImages] = {
        part: read for part in PART_NAMES if (read := _part(root, part, folders)) is not None
    }
    if not found:
        table = _table(root)
        return {"all": read_csv(table) if table is not None else _read_folder(root)}
    used = {sample.file for data in found.values() for sample in data.samples}
    beside = _beside(root, folders, used)
    first = next(iter(found))
    found[first] = replace(found[first], left_out=(*found[first].left_out, *beside))
    return {part: data for part, data in found.items() if part == wanted} or found


def read_image_folder(root: Path) -> LabelledImages:
    """One folder a class below ``root``, at any depth below that; classes in alphabetical order.

    Runs and models of ours, hidden folders and ``__MACOSX`` are none of the data's.  Left out and counted are folders
    that hold other things than pictures, pictures that lie beside the folders, and those of formats that are not read.

    Raises:
        DataError: there are no classes, or the folders are no classes: pictures and masks, pictures alone.
    """
    folders = list(_class_folders(root))
    pictures = {path.name: pictures_below(path) for path in folders}
    classes = tuple(sorted(name for name, found in pictures.items() if found))
    _refuse_other_layouts(root, classes)
    bare = [path for path in folders if not pictures[path.name]]
    empty = [path.name for path in bare if not any(path.rglob("*"))]
    if not classes:
        other = unread_below(root)
        raise DataError(
            f"{root} holds no class folders with pictures; expected {root}/CLASS/IMAGE ({' '.join(IMAGE_SUFFIXES)})"
            + (f"; {len(other)} files are of formats that are not read, such as {other[0]}" if other else "")
        )
    samples = tuple(LabelledImage(path, label) for label, name in enumerate(classes) for path in sorted(pictures[name]))
    loose = [path.name for path in pictures_below(root, deep=False)]
    others = [path.name for path in bare if path.name not in empty and not _only_outputs(path)]
    total = len(samples) + len(loose)
    left_out = (
        LeftOut("pictures outside class folders", "pictures", tuple(loose), len(loose), total),
        LeftOut(EMPTY, "folders", tuple(empty), len(empty)),
        LeftOut("they hold no pictures", "folders", tuple(others), len(others)),
        unread(root, unread_below(root), total),
    )
    return LabelledImages(str(root), classes, samples, left_out=tuple(one for one in left_out if one.count))


def _class_folders(root: Path) -> Iterator[Path]:
    return (path for path in folders_in(root) if not is_hidden(path.name))


def _holds_classes(root: Path) -> bool:
    """Whether a folder has folders with pictures, or shards."""
    return any(pictures_below(path, most=1) for path in _class_folders(root)) or bool(_shards(root))


def _table(root: Path) -> Path | None:
    """The table of a folder's pictures."""
    return next((root / name for name in _WHOLE if (root / name).is_file()), None)


def _shards(root: Path) -> list[Path]:
    try:
        return find_shards(root)
    except DataError:  # packed ones: reading them says so
        return [root]


def _is_a_class(folder: Path, root: Path) -> bool:
    """Whether a folder is called like a part and is a class: of trains, beside others with pictures in them."""
    neighbours = [path for path in _class_folders(root) if part_named(path.name) is None]
    flat = [path for path in (folder, *neighbours) if pictures_below(path, deep=False, most=1)]
    return folder in flat and len(flat) > 1 and not _holds_classes(folder)


def _only_outputs(folder: Path) -> bool:
    """Whether a folder holds nothing but runs and models of ours, as ``runs`` does."""
    inner = [path for path in folder.iterdir() if not is_hidden(path.name)]
    return is_output(folder) or (bool(inner) and all(path.is_dir() and is_output(path) for path in inner))


def _refuse_other_layouts(root: Path, classes: tuple[str, ...]) -> None:
    names = [name.lower() for name in classes]
    pictures = [name for name in names if name in IMAGE_FOLDERS]
    if pictures and any(name in MASK_FOLDERS for name in names):
        raise DataError(
            f"{root} holds {', '.join(classes[:4])}: pictures and masks, not one folder a class; a segmenter learns "
            "from images/ and masks/, see docs/segmentation.md"
        )
    if pictures and len(names) == len(pictures):
        raise DataError(
            f"{root} holds pictures in {classes[0]}/, but no labels of them; expected one folder a class, COCO's JSON "
            "beside it, or masks/ (internimage data check --help)"
        )


def _beside(root: Path, folders: Mapping[PartName, Path], used: AbstractSet[ImageFile]) -> list[LeftOut]:
    """What lies beside the parts and is not used by them, as pictures that a table names are."""
    others = [path for path in _class_folders(root) if path not in folders.values() and pictures_below(path, most=1)]
    pictures = [picture for path in others for picture in pictures_below(path)]
    pictures = [path for path in (*pictures, *pictures_below(root, deep=False)) if path not in used]
    if not pictures:
        return []
    places = ", ".join(
        shortened(sorted({path.relative_to(root).parts[0] for path in pictures if path.parent != root}), 3)
    )
    return [LeftOut(f"outside the parts, in {places or root}", "files", tuple(map(str, pictures)), len(pictures))]


def _part_files(root: Path) -> dict[PartName, list[Path]]:
    """Tables, archives and JSON files by the part that they are called after."""
    found: dict[PartName, list[Path]] = {}
    for path in sorted(root.iterdir()):
        if not path.is_file() or path.suffix.lower() not in _READERS:
            continue
        part = part_named(path.stem) or (part_mentioned(path.stem) if path.suffix.lower() in _TABLES else None)
        if part is None or (part == "test" and path.suffix.lower() in _TABLES and not has_labels(path)):
            continue
        if path.suffix.lower() == ".json" and (part == "test" or not is_inaturalist(path)):
            continue
        found.setdefault(part, []).append(path)
    for part, names in PART_NAMES.items():
        if part not in found and (shards := [shard for name in names for shard in find_shards(root, name)]):
            found[part] = shards
    return found


def _part(root: Path, part: PartName, folders: Mapping[PartName, Path]) -> LabelledImages | None:
    folder, files = folders.get(part), _part_files(root).get(part, [])
    if folder is not None and not _holds_classes(folder) and (table := _table(folder)) is not None:
        return read_csv(table)
    if folder is not None and (_holds_classes(folder) or not files):
        if part == "test" and not _holds_classes(folder):
            return None  # pictures of competitions whose labels are kept back
        return _read_folder(folder)
    shards = [file for file in files if file.suffix.lower() == ".tar"]
    for suffix in (".csv", ".tsv", ".zip", ".json"):
        if chosen := [file for file in files if file.suffix.lower() == suffix]:
            return _READERS[suffix](chosen[0])
    return read_shards(f"{root}/{part}*.tar", shards) if shards else None


def _read_folder(root: Path) -> LabelledImages:
    """Class folders, or shards where there is no folder."""
    folders = any(True for _ in _class_folders(root))
    shards = [] if folders else find_shards(root)
    return read_shards(str(root), shards) if shards else read_image_folder(root)
