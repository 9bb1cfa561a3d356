"""Labelled images inside archives: zip files, with map files as Swin's code has them, and WebDataset shards.

Archives are indexed once and never unpacked to disk: a sample is the place of its bytes, so that access is random.
Every sample is listed once and whatever cannot be placed is an error.
"""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from internimage.data.samples import LabelledImage, LabelledImages
from internimage.errors import DataError
from internimage.images import IMAGE_SUFFIXES, ArchiveMember
from internimage.images.members import Packing

CLASSES_FILE = "classes.txt"
_PACKED_TAR = re.compile(r"\.(tar\.(gz|bz2|xz|zst|lz4|Z)|tgz|tbz2?|txz)$", re.IGNORECASE)
_MOST_CLASSES = 10**6  # a larger class number is a mistake, and would ask for as many names
_MOST_LABEL_BYTES = 2**20
_BLOCK = 512
_FEW = 16  # files of a shard that are looked at to know what it holds


def read_zip(archive: Path) -> LabelledImages:
    """The images of ``NAME.zip``.

    With ``NAME_map.txt`` beside it these are the members that it lists, one line each: path, a tab, the class number.
    Classes are called by their numbers, or as ``classes.txt`` beside it says, one name a line.  Without a map, members
    are ``CLASS/IMAGE.jpg`` or ``NAME/CLASS/IMAGE.jpg``.
    """
    members = _index_zip(archive)
    listing = archive.with_name(f"{archive.stem}_map.txt")
    if listing.is_file():
        return _read_mapped(archive, members, listing)
    images = sorted(name for name in members if _is_image(name))
    if not images:
        raise DataError(f"{archive} holds no images; expected CLASS/IMAGE.jpg, or a {listing.name} beside it")
    top = f"{archive.stem}/"
    skip = len(top) if all(name.startswith(top) for name in images) else 0
    loose = next((name for name in images if "/" not in name[skip:]), None)
    if loose is not None:
        raise DataError(
            f"{archive}/{loose} is in no class folder; expected CLASS/IMAGE.jpg, or {listing.name} beside it"
        )
    names = [name[skip:].partition("/")[0] for name in images]
    classes = tuple(sorted(set(names)))
    number = {name: index for index, name in enumerate(classes)}
    pairs = zip(images, names, strict=True)
    return LabelledImages(
        str(archive),
        classes,
        tuple(LabelledImage(members[image], number[name]) for image, name in pairs),
        "a zip archive",
    )


def find_shards(folder: Path, prefix: str = "") -> list[Path]:
    """The tar files in ``folder`` whose names start with ``prefix``, sorted."""
    files = sorted(path for path in folder.iterdir() if path.name.startswith(prefix) and path.is_file())
    packed = next((path for path in files if _PACKED_TAR.search(path.name)), None)
    if packed is not None:
        raise DataError(
            f"{packed} is compressed, which allows no random access; unpack the shard itself (gunzip {packed.name})"
        )
    return [path for path in files if path.suffix.lower() == ".tar"]


def read_shards(name: str, shards: Sequence[Path]) -> LabelledImages:
    """The images of WebDataset shards, in the order of the files.

    A sample is the files whose paths agree up to the first dot of the file's name: an image and its label, in
    ``KEY.cls`` (text) or as "label" or "cls" in ``KEY.json``.  Labels are class numbers or names; ``classes.txt``
    beside the shards gives names to numbers.
    """
    images: list[ArchiveMember] = []
    labels: list[str] = []
    for shard in shards:
        for image, label in _read_shard(shard):
            images.append(image)
            labels.append(label)
    if not images:
        raise DataError(f"{name} holds no samples; expected KEY.jpg with KEY.cls or KEY.json in each tar")
    listing = shards[0].with_name(CLASSES_FILE)
    classes, numbers = number_labels(labels, listing, lambda index: str(images[index]))
    return LabelledImages(name, classes, tuple(map(LabelledImage, images, numbers)), "WebDataset shards")


def _read_mapped(archive: Path, members: dict[str, ArchiveMember], listing: Path) -> LabelledImages:
    images: list[ArchiveMember] = []
    labels: list[str] = []
    for number, line in enumerate(_lines(listing), 1):
        path, tab, label = line.partition("\t")
        member = members.pop(path.strip("/"), None)
        if not tab or not _is_number(label.strip()):
            raise DataError(f"{listing} line {number} is {line[:80]!r}; expected MEMBER, a tab and a class number")
        if member is None:
            raise DataError(f"{listing} line {number}: {path} is not in {archive.name}, or is listed twice")
        images.append(member)
        labels.append(label.strip())
    if not images:
        raise DataError(f"{listing} is empty; expected lines of MEMBER, a tab and a class number")
    classes, numbers = number_labels(
        labels, archive.with_name(CLASSES_FILE), lambda index: f"{listing} line {index + 1}"
    )
    return LabelledImages(str(archive), classes, tuple(map(LabelledImage, images, numbers)), "a zip archive with a map")


def _index_zip(archive: Path) -> dict[str, ArchiveMember]:
    """Files by path, hidden ones left out."""
    members: dict[str, ArchiveMember] = {}
    try:
        with zipfile.ZipFile(archive) as file:
            entries = file.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DataError(f"{archive} is not a readable zip archive: {error}") from error
    for entry in entries:
        if entry.filename.endswith("/") or _is_hidden(entry.filename):
            continue
        deflated = entry.compress_type == zipfile.ZIP_DEFLATED
        if entry.flag_bits & 1 or not (deflated or entry.compress_type == zipfile.ZIP_STORED):
            raise DataError(
                f"{archive}/{entry.filename} is encrypted or packed in a rare way; expected stored or deflated"
            )
        name = entry.filename.strip("/")
        if name in members:
            raise DataError(f"{archive}/{name} is in the archive twice; expected each member once")
        packing: Packing = "deflated zip" if deflated else "zip"
        members[name] = ArchiveMember(archive, name, entry.header_offset, entry.compress_size, packing)
    return members


def read_samples(shard: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, dict[str, ArchiveMember]]]:
    """Keys and files of a shard's samples, in the order of the keys' first files: what follows the key, and the file.

    Args:
        shard: the tar.
        wanted: whether files with such a suffix, ``.seg.png``, belong to samples.

    Raises:
        DataError: it cannot be read, or has a file twice.
    """
    samples: dict[str, dict[str, ArchiveMember]] = {}
    for member in _index_tar(shard):
        key, suffix = _split(member.name)
        if wanted(suffix):
            files = samples.setdefault(key, {})
            if suffix in files:
                raise DataError(f"{member} is in the shard twice; expected each key once")
            files[suffix] = member
    yield from samples.items()


def first_sample(shard: Path) -> dict[str, ArchiveMember]:
    """The files of a shard's first sample; nothing where it is no shard."""
    found: dict[str, ArchiveMember] = {}
    try:
        keys = [(_split(member.name), member) for member in islice(_index_tar(shard), _FEW)]
    except DataError:
        return found
    for (key, suffix), member in keys:
        if key == keys[0][0][0]:
            found[suffix] = member
    return found


def _read_shard(shard: Path) -> Iterator[tuple[ArchiveMember, str]]:
    """Image and label of each sample."""
    for key, files in read_samples(shard, lambda suffix: suffix.endswith((*IMAGE_SUFFIXES, ".cls", ".json"))):
        found = [suffix for suffix in files if suffix in IMAGE_SUFFIXES]
        label = files.get(".cls", files.get(".json"))
        if len(found) != 1 or label is None:
            raise DataError(f"{shard}/{key} has the files {' '.join(files)}; expected one image and .cls or .json")
        yield files[found[0]], read_label(label)


def _index_tar(shard: Path) -> Iterator[ArchiveMember]:
    """Files in their order, hidden ones left out."""
    try:
        with shard.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (entry := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep every header
                name = entry.name.removeprefix("./")
                if entry.isdir() or _is_hidden(name):
                    continue
                if not entry.isreg() or entry.issparse():
                    raise DataError(f"{shard}/{name} is a link or a special file; expected plain files")
                yield ArchiveMember(shard, name, entry.offset_data, entry.size, "tar")
            # a header that cannot be read ends the list like the end mark does
            file.seek(tar.offset)
            mark = file.read(_BLOCK)
    except DataError:
        raise
    except (OSError, tarfile.TarError, ValueError, EOFError) as error:
        raise DataError(f"{shard} is not a readable uncompressed tar: {error}") from error
    if len(mark) < _BLOCK or mark.strip(b"\0"):
        raise DataError(f"{shard} is damaged or cut off at byte {tar.offset}; expected another file or the end mark")


def read_label(member: ArchiveMember) -> str:
    """The class, a number or a name, that a ``.cls`` or ``.json`` of a sample says.

    Raises:
        DataError: it says none.
    """
    wanted = "a number or a name" if member.name.lower().endswith(".cls") else 'an object with "label" or "cls"'
    try:
        if member.size > _MOST_LABEL_BYTES:
            raise ValueError(f"{member.size} bytes")
        text = member.read_bytes().decode("utf-8-sig").strip()
        if member.name.lower().endswith(".json"):
            content = json.loads(text)
            value = content.get("label", content.get("cls")) if isinstance(content, dict) else None
            text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    except (OSError, ValueError, RecursionError) as error:  # also what is no UTF-8 or no JSON
        raise DataError(f"{member} is not a label: {error}; expected {wanted}") from error
    if not text or "\n" in text:
        raise DataError(f"{member} is not a label; expected {wanted}")
    return text


def number_labels(
    labels: Sequence[str], listing: Path, where: Callable[[int], str]
) -> tuple[tuple[str, ...], Iterator[int]]:
    """Names of the classes and the number of each label.

    Args:
        labels: class numbers, or names.
        listing: file of the names, if it exists.
        where: from the index of a label to where it stands, for messages.

    Raises:
        DataError: labels are of both kinds, or not among the names.
    """
    names = read_names(listing) if listing.is_file() else None
    wordy = next((index for index, label in enumerate(labels) if not _is_number(label)), None)
    if wordy is None:
        numbers = [int(label) for label in labels]
        largest = max(range(len(numbers)), key=numbers.__getitem__)
        limit = len(names) if names else _MOST_CLASSES
        if numbers[largest] >= limit:
            said = f"{listing.name} has {limit} names" if names else "class numbers start at 0"
            raise DataError(f"{where(largest)}: class {numbers[largest]}, expected 0 to {limit - 1} ({said})")
        return names or tuple(map(str, range(numbers[largest] + 1))), iter(numbers)
    numeric = next((index for index, label in enumerate(labels) if _is_number(label)), None)
    if numeric is not None:
        raise DataError(f"{where(numeric)} is a number but {where(wordy)} is a name; expected labels of one kind")
    names = names or tuple(sorted(set(labels)))
    index = {name: number for number, name in enumerate(names)}
    unknown = next((place for place, label in enumerate(labels) if label not in index), None)
    if unknown is not None:
        raise DataError(
            f"{where(unknown)}: {labels[unknown]!r} is not in {listing}; expected one of its {len(names)} names"
        )
    return names, (index[label] for label in labels)


def read_names(listing: Path) -> tuple[str, ...]:
    """Names of classes, one a line.

    Raises:
        DataError: a line is empty or there twice.
    """
    names: dict[str, None] = {}
    for number, line in enumerate(_lines(listing), 1):
        name = line.strip()
        if not name or name in names:
            raise DataError(f"{listing} line {number} is {name!r}; expected a name that no other line has")
        names[name] = None
    if not names:
        raise DataError(f"{listing} is empty; expected one class name a line")
    return tuple(names)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                yield line.rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not readable text: {error}") from error


def _split(name: str) -> tuple[str, str]:
    """``"a/b.seg.PNG"`` to ``("a/b", ".seg.png")``."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return folder + slash + stem, (dot + suffix).lower()


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _is_hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
