"""Captions in the split of most papers: ``dataset_coco.json``, ``dataset_flickr30k.json``.

Karpathy and Fei-Fei, CVPR 2015.  Training pictures are those of ``train`` and of ``restval``; of each picture the first
five sentences count, so that COCO's test part has 25,000.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from internimage.data.formats.documents import read_json
from internimage.data.formats.places import mapped
from internimage.data.formats.shapes import BadEntryError
from internimage.data.left_out import BadEntries
from internimage.errors import DataError
from internimage.multimodal.data.formats.looking import finder_of, json_files
from internimage.multimodal.data.gathering import (
    Gathering,
    Identity,
    chosen,
    converted,
    list_in,
    numbered,
    part_title,
    settled,
    text_in,
)
from internimage.multimodal.data.pairs import Pairs
from internimage.settings.data import DataOptions

NAME = "Karpathy's split"
EXAMPLE = "dataset_coco.json or dataset_flickr30k.json with the pictures"
SENTENCES = 5
_PARTS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
_TRAINING = re.compile(rb'"split"\s*:\s*"(?:train|restval)"')
_FOLDERS = ("flickr30k-images", "flickr30k_images", "flickr8k-images")


class _Sentence(msgspec.Struct):
    raw: str


class _Image(msgspec.Struct):
    filename: str
    split: str
    sentences: list[_Sentence]
    filepath: str = ""
    cocoid: Identity | None = None
    imgid: Identity | None = None


def recognise(root: Path) -> bool:
    """Whether there is such a file."""
    return bool(_files(root))


def estimate(root: Path, most: int) -> int:
    """How many pictures there are to train on, without parsing."""
    with mapped(_file(root)) as content:
        return min(most, sum(1 for _ in _TRAINING.finditer(content)))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, Pairs]:
    """The parts of a data set.

    Raises:
        DataError: the file is no such JSON, or entries contradict the format.
    """
    file = _file(root)
    gathered: dict[str, Gathering] = {}
    strange = BadEntries()  # of no part
    images = list_in(read_json(file), "images", file)
    for where, entry in numbered(images, file, "images"):
        name = entry.get("split") if isinstance(entry, dict) else None
        part = _PARTS.get(name) if isinstance(name, str) else None
        if part is None:
            strange.add("pictures", f"{where}: split is {name!r}; expected one of {', '.join(_PARTS)}")
            continue
        if part not in gathered:
            gathered[part] = Gathering(part_title(root, part), NAME, finder_of(root, part, *_FOLDERS))
        with gathered[part].entry("pictures", where):
            _read_image(gathered[part], entry, where)
    strange.settle(options is not None and options.bad_entries == "drop", {"pictures": len(images)})
    if not gathered:
        raise DataError(f"{file}: images is empty; expected pictures with sentences")
    return settled(chosen(gathered, wanted), options)


def _read_image(part: Gathering, entry: object, where: str) -> None:
    image = converted(entry, _Image, "filename, split and sentences with raw")
    if not image.sentences:
        raise BadEntryError("sentences is empty; expected one or more")
    name = f"{image.filepath}/{image.filename}" if image.filepath else image.filename
    picture = part.picture(name, image.imgid if image.cocoid is None else image.cocoid)
    for number, sentence in enumerate(image.sentences):
        if number >= SENTENCES:
            part.leave_out("captions", f"only the first {SENTENCES} of a picture count", f"{where} sentences[{number}]")
            continue
        with part.entry("captions", f"{where} sentences[{number}]"):
            picture.captions.append(text_in(sentence.raw, "sentence"))


def _file(root: Path) -> Path:
    files = _files(root)
    if len(files) != 1:
        names = ", ".join(file.name for file in files)
        raise DataError(
            f"{root} has several such files, {names}; name one of them" if files else f"{root} has no split"
        )
    return files[0]


def _files(root: Path) -> list[Path]:
    return json_files(root, "sentences", "split", "raw")
