"""Which pictures lie where, and what is known of them: shards, captions, classes, or pictures alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from internimage.data import recognition
from internimage.data.formats import shards
from internimage.data.formats.archives import CLASSES_FILE, number_labels, read_label, read_samples
from internimage.data.formats.parts import part_folders
from internimage.data.formats.pictures import pictures_below
from internimage.data.left_out import LeftOut
from internimage.data.samples import LabelledImages, Part
from internimage.errors import ConfigError, DataError
from internimage.images import IMAGE_SUFFIXES, ArchiveMember
from internimage.multimodal.data import reading as words
from internimage.multimodal.pretraining.pictures import Sight, Sights
from internimage.settings.data import DataOptions

EXPECTED = (
    "pictures, in folders of classes or not; pictures with captions; or train*.tar of KEY.jpg with KEY.cls, KEY.txt, "
    "both or neither"
)
_MOST = 1_000_000
_MOST_TEXT_BYTES = 2**16
_NAMED = 20
Parts = Mapping[str, Sights]
Read = Callable[[Path, str | None, DataOptions], Parts]


def reads(root: Path) -> bool:
    """Whether pictures lie at ``root``."""
    return bool(_ways(root.expanduser()))


def read_parts(root: Path, wanted: str | None, options: DataOptions) -> Parts:
    """The parts of a data set by name, or the wanted one alone.

    Raises:
        DataError: there are no pictures, or they contradict their format.
        ConfigError: they cannot be read as ``options.reading`` says.
    """
    root = root.expanduser()
    ways = _ways(root)
    if not ways:
        what = "does not exist" if not root.exists() else "holds no pictures"
        raise DataError(f"{root} {what}; expected {EXPECTED}")
    taken = options.reading if options.reading in _WAYS else next(iter(ways))
    if taken not in ways:
        raise ConfigError(f"--reading {taken}: {root} is read as {' or '.join(ways)}")
    plain = replace(options, reading=None) if options.reading in _WAYS else options
    parts = ways[taken](root, wanted, plain)
    others = " or ".join(f"--reading {name}" for name in ways if name != taken)
    note = (f"read as {taken}; {others}",) if others and options.reading is None else ()
    return {name: replace(part, notes=(*note, *part.notes)) for name, part in parts.items()}


def estimate(root: Path) -> int:
    """How many pictures there are to train on, about; 0 where nobody knows."""
    root = root.expanduser()
    try:
        taken = next(iter(_ways(root)), None)
        if taken == "shards":
            packed = _training(shards.shard_parts(root))
            return min(_MOST, len(packed) * sum(1 for _ in read_samples(packed[0], IMAGE_SUFFIXES.__contains__)))
        if taken == "captions":
            return words.estimate(root)
        if taken == "labels" or recognition.has_kind(root, "objects", "masks"):
            return recognition.estimate(root)
        return len(_training(_folders(root)))
    except (OSError, DataError):
        return 0


def _ways(root: Path) -> dict[str, Read]:
    """How a folder can be read, what says most first."""
    if not root.exists():
        return {}
    found = None if _has_shards(root) else _format(root)
    there = {"shards": _has_shards(root), "captions": words.reads(root)}
    there["labels"] = found is not None and found.kind == "labels"
    there["pictures"] = found is not None if root.is_file() else bool(pictures_below(root, most=1))
    return {name: _WAYS[name] for name, one in there.items() if one}


def _format(root: Path) -> recognition.Format | None:
    try:
        return recognition.find_format(root)
    except DataError:  # what is refused as data of any task has pictures all the same
        return None


def _has_shards(root: Path) -> bool:
    """Whether there are shards of pictures without objects and masks."""
    try:
        return bool(shards.shard_parts(root)) and not shards.recognise(root) and not shards.has_masks(root)
    except DataError:
        return False


def _training(parts: Mapping[str, list[Path]]) -> list[Path]:
    return parts.get("train") or parts.get("all") or []


def _read_shards(root: Path, wanted: str | None, options: DataOptions) -> Parts:
    every = shards.shard_parts(root)
    chosen = {name: packed for name, packed in every.items() if name == wanted} or every
    return {name: _shards(f"{root} ({name})" if name != "all" else str(root), one) for name, one in chosen.items()}


def _shards(name: str, packed: list[Path]) -> Sights:
    """The samples of a part's shards, of which some may have no class or no text."""
    found: list[tuple[ArchiveMember, str | None, tuple[str, ...]]] = []
    bare: list[str] = []
    for shard in packed:
        for key, files in read_samples(shard, lambda suffix: suffix in (*IMAGE_SUFFIXES, ".cls", ".json", ".txt")):
            pictures = [suffix for suffix in files if suffix in IMAGE_SUFFIXES]
            if len(pictures) > 1:
                raise DataError(f"{shard}/{key} has the files {' '.join(files)}; expected one picture of each name")
            if not pictures:
                bare.append(f"{shard.name}/{key}")
                continue
            found.append((files[pictures[0]], _label(files), _text(files[".txt"]) if ".txt" in files else ()))
    if not found:
        raise DataError(
            f"{name} holds no pictures; expected KEY.jpg in each tar, with KEY.cls and KEY.txt if there are"
        )
    told = [(member, label) for member, label, _ in found if label is not None]
    classes: tuple[str, ...] = ()
    numbers: Iterator[int] = iter(())
    if told:
        listing = packed[0].with_name(CLASSES_FILE)
        classes, numbers = number_labels([label for _, label in told], listing, lambda place: str(told[place][0]))
    sights = tuple(Sight(member, None if label is None else next(numbers), text) for member, label, text in found)
    left_out = LeftOut("no picture", "files", tuple(bare[:_NAMED]), len(bare), len(bare) + len(found))
    return Sights(name, sights, classes, "WebDataset shards", (left_out,) if bare else ())


def _label(files: Mapping[str, ArchiveMember]) -> str | None:
    """What .cls says, or .json where it says a class; metadata of other kinds are no class."""
    if ".cls" in files or ".json" not in files:
        return read_label(files[".cls"]) if ".cls" in files else None
    try:
        content = json.loads(files[".json"].read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{files['.json']} is not readable JSON: {error}") from error
    has_class = isinstance(content, dict) and ("label" in content or "cls" in content)
    return read_label(files[".json"]) if has_class else None


def _text(member: ArchiveMember) -> tuple[str, ...]:
    if member.size > _MOST_TEXT_BYTES:
        raise DataError(f"{member} has {member.size} bytes; expected a text of {_MOST_TEXT_BYTES} or fewer")
    try:
        text = " ".join(member.read_bytes().decode("utf-8-sig").split())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{member} is not readable text: {error}") from error
    return (text,) if text else ()


def _read_captions(root: Path, wanted: str | None, options: DataOptions) -> Parts:
    parts = words.read_parts(root, wanted, options)
    return {
        name: _sights(part, [Sight(one.file, None, one.captions) for one in part.entries])
        for name, part in parts.items()
    }


def _read_labels(root: Path, wanted: str | None, options: DataOptions) -> Parts:
    parts: Mapping[str, LabelledImages] = recognition.read_kinds(root, wanted, options, "labels")[1]
    return {
        name: replace(_sights(part, [Sight(one.file, one.label) for one in part.samples]), classes=part.classes)
        for name, part in parts.items()
    }


def _read_annotated(root: Path, wanted: str | None, options: DataOptions) -> Parts:
    """The pictures of data for detectors and segmenters, without their masks."""
    kind, parts = recognition.read_kinds(root, wanted, options, "objects", "masks")
    note = f"{kind} are not learnt here, the pictures are"
    return {
        name: replace(_sights(part, [Sight(file) for file in part.files]), notes=(note, *part.notes))
        for name, part in parts.items()
    }


def _read_pictures(root: Path, wanted: str | None, options: DataOptions) -> Parts:
    other = _format(root)
    if other is not None and other.kind != "labels":
        return _read_annotated(root, wanted, options)
    found = {name: files for name, files in _folders(root).items() if files}
    parts = {name: files for name, files in found.items() if name == wanted} or found
    return {
        name: Sights(f"{root} ({name})" if name != "all" else str(root), tuple(map(Sight, files)))
        for name, files in parts.items()
    }


def _folders(root: Path) -> dict[str, list[Path]]:
    """Pictures of folders that are called after parts, or all."""
    folders = part_folders(root)
    if "train" not in folders:
        return {"all": list(islice(pictures_below(root), _MOST))}
    return {name: pictures_below(path) for name, path in folders.items()}


def _sights(part: Part, sights: list[Sight]) -> Sights:
    return Sights(part.name, tuple(sights), (), part.format, part.left_out, part.notes, part.listed)


_WAYS: Mapping[str, Read] = {
    "shards": _read_shards,
    "captions": _read_captions,
    "labels": _read_labels,
    "pictures": _read_pictures,
}
