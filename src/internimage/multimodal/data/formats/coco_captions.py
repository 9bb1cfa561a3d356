"""Captions as COCO's JSON has them: ``images`` and ``annotations`` with ``caption``.

Format: https://cocodataset.org/#format-data, 5. Image Captioning.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from internimage.data.formats.documents import read_json
from internimage.data.formats.parts import part_mentioned, part_named
from internimage.data.formats.shapes import BadEntryError
from internimage.multimodal.data.formats.looking import by_part, estimated, finder_of, json_files
from internimage.multimodal.data.gathering import (
    Gathering,
    Identity,
    Picture,
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

NAME = "COCO captions"
EXAMPLE = "annotations/captions_train2017.json with train2017/"
_PICTURES = re.compile(rb'"file_name"\s*:')


class _Image(msgspec.Struct):
    id: Identity
    file_name: str
    file_path: str | None = None


class _Annotation(msgspec.Struct):
    image_id: Identity
    caption: str


def recognise(root: Path) -> bool:
    """Whether there are COCO's captions."""
    return bool(_files(root))


def estimate(root: Path, most: int) -> int:
    """How many pictures there are to train on, without parsing."""
    return estimated(_by_part(root), _PICTURES, most)


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, Pairs]:
    """The parts of a data set, by the names of their files.

    Raises:
        DataError: a file is no such JSON, or entries contradict the format.
    """
    gathered = {}
    for part, file in chosen(_by_part(root), wanted).items():
        finder = finder_of(root, part, file.stem.removeprefix("captions_"))
        gathered[part] = Gathering(part_title(root, part), NAME, finder)
        _read_file(gathered[part], file)
    return settled(gathered, options)


def _read_file(part: Gathering, file: Path) -> None:
    content = read_json(file)
    pictures: dict[Identity, Picture | None] = {}
    for where, entry in numbered(list_in(content, "images", file), file, "images"):
        with part.entry("pictures", where):
            image = converted(entry, _Image, "an image with id and file_name")
            pictures[image.id] = None  # its captions are left out with it
            pictures[image.id] = part.picture(_name(part, image), image.id)
    for where, entry in numbered(list_in(content, "annotations", file), file, "annotations"):
        with part.entry("captions", where):
            one = converted(entry, _Annotation, "a caption with image_id")
            if one.image_id not in pictures:
                raise BadEntryError(f"image_id {one.image_id} is the id of no image")
            caption, picture = text_in(one.caption, "caption"), pictures[one.image_id]
            if picture is not None:
                picture.captions.append(caption)


def _name(part: Gathering, image: _Image) -> str:
    """The path, where the file's name alone says nothing."""
    other = image.file_path is not None and part.finder.locate(image.file_name) is None
    return image.file_path if other and image.file_path is not None else image.file_name


def _by_part(root: Path) -> dict[str, Path]:
    def named(file: Path) -> str | None:
        return part_named(file.stem.removeprefix("captions_")) or part_mentioned(file.stem)

    return by_part(root, _files(root), named)


def _files(root: Path) -> list[Path]:
    return json_files(root, "caption", "image_id")
