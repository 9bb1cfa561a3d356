"""Objects and masks in WebDataset shards: uncompressed tars in which the files of a sample have one name.

A sample is ``KEY.jpg`` with ``KEY.json``, whose ``objects`` are as Hugging Face's or whose ``annotations`` are as
COCO's; or ``KEY.jpg`` with ``KEY.png``, ``KEY.mask.png`` or ``KEY.seg.png``, a mask.  Shards are ``train*.tar`` and
``val*.tar``, or lie in folders that are called so.  Names of numbered classes are in ``classes.txt`` beside them;
samples stay packed: what is kept is where their bytes lie.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from internimage.data.formats.archives import CLASSES_FILE, find_shards, first_sample, read_names, read_samples
from internimage.data.formats.coco_entries import EntryError, segmentation_in
from internimage.data.formats.gathering import DrawnPicture, Gathering, settled
from internimage.data.formats.imagefolder import box_in, numbered_classes, objects_in
from internimage.data.formats.parts import PART_NAMES, part_folders
from internimage.data.formats.shapes import BadEntryError, short
from internimage.data.objects import ObjectImages
from internimage.errors import DataError
from internimage.images import IMAGE_SUFFIXES, ArchiveMember
from internimage.settings.data import DataOptions

_MASKS = (".mask.png", ".seg.png", ".label.png", ".annotation.png", ".png")
_LISTS = ("objects", "annotations")
_MOST_BYTES = 2**26  # of one sample's annotations


def recognise(root: Path) -> bool:
    """Whether there are shards whose samples have objects, and no class of the whole picture."""
    sample = _first(root)
    return ".json" in sample and _listed(sample[".json"]) is not None and not _has_class(sample)


def has_masks(root: Path) -> bool:
    """Whether there are shards whose samples have masks, and no class of the whole picture."""
    sample = _first(root)
    return _mask(sample) is not None and not _has_class(sample)


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on, if all shards are like the first."""
    parts = shard_parts(root)
    shards = parts.get("train", parts.get("all", []))
    count = sum(1 for _ in read_samples(shards[0], lambda suffix: suffix == ".json")) if shards else 0
    return min(most, count * len(shards))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """The parts of a set of objects.

    Raises:
        DataError: a shard is damaged, or samples contradict the format.
    """
    parts = shard_parts(root)
    listing = next((path for path in _listings(root, parts) if path.is_file()), None)
    names = None if listing is None else read_names(listing)
    gathered = {}
    for name, shards in parts.items():
        part = Gathering(f"{root} ({name})" if name != "all" else str(root), "WebDataset shards")
        for shard in shards:
            for key, files in read_samples(shard, lambda suffix: suffix == ".json" or suffix in IMAGE_SUFFIXES):
                with part.entry("pictures", f"{shard}/{key}"):
                    _read_sample(part, key, files, names)
        gathered[name] = part
    return settled(gathered, wanted, options, names or numbered_classes(gathered), first=0)


def mask_pairs(root: Path) -> dict[str, list[tuple[ArchiveMember, ArchiveMember]]]:
    """Pictures and masks of each part.

    Raises:
        DataError: a shard is damaged, or a sample has no mask or several.
    """
    pairs: dict[str, list[tuple[ArchiveMember, ArchiveMember]]] = {}
    for name, shards in shard_parts(root).items():
        for shard in shards:
            for key, files in read_samples(shard, lambda suffix: suffix.endswith(IMAGE_SUFFIXES)):
                mask = _mask(files)
                pictures = [suffix for suffix in files if suffix in IMAGE_SUFFIXES and suffix != mask]
                if mask is None or len(pictures) != 1 or len(files) != 2:
                    raise DataError(
                        f"{shard}/{key} has the files {' '.join(files)}; expected one picture and one mask, such as "
                        ".jpg and .mask.png"
                    )
                pairs.setdefault(name, []).append((files[pictures[0]], files[mask]))
    return pairs


def shard_parts(root: Path) -> dict[str, list[Path]]:
    """Shards by parts, "all" where they are not divided.

    Raises:
        DataError: shards are compressed.
    """
    if root.is_file():
        return {"all": [root]} if root.suffix.lower() == ".tar" else {}
    if not root.is_dir():
        return {}
    found: dict[str, list[Path]] = {}
    folders = part_folders(root)
    for part, names in PART_NAMES.items():
        shards = find_shards(folders[part]) if part in folders else []
        if not shards:
            shards = [shard for name in names for shard in find_shards(root, name)]
        if shards:
            found[part] = list(dict.fromkeys(shards))
    if not found and (shards := find_shards(root)):
        found["all"] = shards
    return found


def _listings(root: Path, parts: Mapping[str, Sequence[Path]]) -> Iterator[Path]:
    yield root / CLASSES_FILE
    for shards in parts.values():
        yield shards[0].with_name(CLASSES_FILE)


def _first(root: Path) -> dict[str, ArchiveMember]:
    """The first sample that there is, by what follows its key."""
    try:
        shards = next(iter(shard_parts(root).values()), [])
    except DataError:  # compressed, which those say that read shards
        return {}
    return first_sample(shards[0]) if shards else {}


def _mask(files: Mapping[str, ArchiveMember]) -> str | None:
    """What follows the key of a sample's mask."""
    found = next((suffix for suffix in _MASKS if suffix in files), None)
    pictures = any(suffix in IMAGE_SUFFIXES and suffix != found for suffix in files)
    return found if pictures else None


def _has_class(files: Mapping[str, ArchiveMember]) -> bool:
    """Whether a sample says a class of the whole picture, as shards for classifiers do."""
    return ".cls" in files or (".json" in files and not {"label", "cls"}.isdisjoint(_known(files[".json"])))


def _listed(member: ArchiveMember) -> Any:
    """The objects of a sample; None if it has no list of them."""
    content = _known(member)
    return next((content[key] for key in _LISTS if isinstance(content.get(key), list | dict)), None)


def _known(member: ArchiveMember) -> dict[str, Any]:
    """What a sample's .json says; nothing where it cannot be read, which those say that read all."""
    try:
        return _content(member)
    except BadEntryError:
        return {}


def _content(member: ArchiveMember) -> dict[str, Any]:
    if member.size > _MOST_BYTES:
        raise BadEntryError(f"its .json has {member.size} bytes; expected objects of one picture")
    try:
        content = json.loads(member.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BadEntryError(f"its .json is not readable: {error}") from error
    if not isinstance(content, dict):
        raise BadEntryError(f"its .json is {short(content)}; expected an object with objects or annotations")
    return content


def _read_sample(part: Gathering, key: str, files: Mapping[str, ArchiveMember], names: Sequence[str] | None) -> None:
    pictures = [suffix for suffix in files if suffix != ".json"]
    if len(pictures) != 1 or ".json" not in files:
        raise BadEntryError(f"it has the files {' '.join(files)}; expected one picture and .json")
    content = _content(files[".json"])
    given = next((content[name] for name in _LISTS if name in content), None)
    if given is None:
        raise BadEntryError("its .json has neither objects nor annotations")
    height, width = content.get("height"), content.get("width")
    size = (height, width) if type(height) is int and type(width) is int and min(height, width) > 0 else None
    picture = part.add_picture(files[pictures[0]], size, key)
    for index, one in enumerate(objects_in(given)):
        with part.entry("objects", f"{files['.json']} [{index}]"):
            _add(part, picture, one, names)


def _add(part: Gathering, picture: DrawnPicture, one: Mapping[str, Any], names: Sequence[str] | None) -> None:
    label = one["label"]
    if type(label) is int and names is not None:
        if not 0 <= label < len(names):
            raise BadEntryError(f"the class is {label}; expected 0 to {len(names) - 1} ({CLASSES_FILE})")
        label = names[label]
    if names is not None and label not in names:
        raise BadEntryError(f"the class is {short(label)}; expected a line of {CLASSES_FILE}")

    def bad(text: str) -> None:
        raise BadEntryError(text)

    try:
        shape = segmentation_in(one.get("segmentation") or None, picture.size, "sizes", bad)
    except EntryError as error:
        raise BadEntryError(str(error).removeprefix(": ")) from None
    if one.get("iscrowd") not in (None, 0, 1):
        raise BadEntryError(f"iscrowd is {short(one['iscrowd'])}; expected 0 or 1")
    box = None if one["bbox"] is None and shape is not None else box_in(one["bbox"])
    part.add(picture, str(label) if type(label) is int else label, box, shape, bool(one.get("iscrowd")))
