"""Classes of whole pictures as Hugging Face's ``imagefolder`` has them: ``file_name`` with ``label``."""

from __future__ import annotations

from pathlib import Path

from internimage.data.formats.imagefolder_file import LABELS, has_objects, metadata_files, read_rows
from internimage.data.formats.labelling import Labelling, settled_labels
from internimage.data.formats.pictures import PictureFinder
from internimage.data.samples import LabelledImages
from internimage.settings.data import DataOptions


def recognise(root: Path) -> bool:
    """Whether there are metadata with labels, and no objects."""
    return has_objects(root) is False


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    files = metadata_files(root)
    train = [file for file in files if file[1] == "train"] or files
    return min(most, sum(1 for file, part in train for _ in read_rows(file, part)))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, LabelledImages]:
    """The parts of a data set, by folders that are called after parts.

    Raises:
        DataError: entries contradict the format.
    """
    gathered: dict[str, Labelling] = {}
    for file, folder_part in metadata_files(root):
        finder = PictureFinder([file.parent], file.parent)
        for row in read_rows(file, folder_part):
            name = f"{root} ({row.part})" if row.part != "all" else str(root)
            part = gathered.setdefault(row.part, Labelling(name, "imagefolder", finder))
            part.finder = finder
            with part.entry(row.where):
                label = next((row.columns[key] for key in LABELS if key in row.columns), None)
                part.add(row.columns.get("file_name"), label)
    return settled_labels(gathered, wanted, options)
