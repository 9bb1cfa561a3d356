"""Captions as Hugging Face's ``imagefolder`` has them: ``metadata.jsonl`` or ``.csv`` with a column of texts.

Format: https://huggingface.co/docs/datasets/image_dataset.
"""

from __future__ import annotations

from pathlib import Path

from internimage.data.formats.imagefolder_file import Row, metadata_files, read_rows
from internimage.data.formats.pictures import PictureFinder
from internimage.errors import DataError, MissingExtraError
from internimage.multimodal.data.gathering import Gathering, chosen, part_title, settled, text_in
from internimage.multimodal.data.pairs import Pairs
from internimage.settings.data import DataOptions

NAME = "imagefolder"
EXAMPLE = "metadata.jsonl or metadata.csv with file_name and text or caption"
_COLUMNS = ("text", "caption", "captions")


def recognise(root: Path) -> bool:
    """Whether there are metadata with texts."""
    try:
        files = metadata_files(root)
        row = next(iter(read_rows(*files[0])), None) if files else None
    except (DataError, MissingExtraError):
        return False
    return row is not None and "file_name" in row.columns and any(name in row.columns for name in _COLUMNS)


def estimate(root: Path, most: int) -> int:
    """How many pictures there are to train on."""
    files = metadata_files(root)
    train = [file for file in files if file[1] == "train"] or files
    return min(most, sum(1 for file, part in train for _ in read_rows(file, part)))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, Pairs]:
    """The parts of a data set, by folders that are called after parts.

    Raises:
        DataError: rows contradict the format.
    """
    gathered: dict[str, Gathering] = {}
    for file, folder_part in metadata_files(root):
        finder = PictureFinder([file.parent], file.parent)
        for row in read_rows(file, folder_part):
            part = gathered.setdefault(row.part, Gathering(part_title(root, row.part), NAME, finder))
            part.finder = finder
            with part.entry("pictures", row.where):
                _read_row(part, row)
    return settled(chosen(gathered, wanted), options)


def _read_row(part: Gathering, row: Row) -> None:
    told = next((row.columns[name] for name in _COLUMNS if name in row.columns), None)
    captions = [text_in(one, "text") for one in (told if isinstance(told, list) and told else [told])]
    part.picture(row.columns.get("file_name")).captions.extend(captions)
