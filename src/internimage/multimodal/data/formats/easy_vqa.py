"""Questions about drawn shapes as the package easy-vqa has them: ``train/questions.json`` with ``train/images``.

A question is ``[question, answer, number of the picture]``; it has one answer.
"""

from __future__ import annotations

from pathlib import Path

from internimage.data.formats.documents import read_json
from internimage.data.formats.parts import part_folders
from internimage.data.formats.pictures import PictureFinder, is_output, pictures_below
from internimage.errors import DataError
from internimage.multimodal.data.gathering import (
    Gathering,
    chosen,
    converted,
    numbered,
    part_title,
    settled,
    text_in,
)
from internimage.multimodal.data.pairs import Pairs, Question
from internimage.settings.data import DataOptions

NAME = "easy-VQA"
EXAMPLE = "train/questions.json with train/images/"
_FILE = "questions.json"


def recognise(root: Path) -> bool:
    """Whether folders of parts have questions and pictures."""
    return bool(_folders(root))


def estimate(root: Path, most: int) -> int:
    """How many pictures there are to train on."""
    train = _folders(root).get("train")
    return 0 if train is None else len(pictures_below(train / "images", most=most))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, Pairs]:
    """The parts of a data set.

    Raises:
        DataError: a file is no such JSON, or entries contradict the format.
    """
    gathered: dict[str, Gathering] = {}
    for part, folder in chosen(_folders(root), wanted).items():
        finder = PictureFinder([folder / "images"], folder)
        gathered[part] = Gathering(part_title(root, part), NAME, finder)
        content = read_json(folder / _FILE)
        if not isinstance(content, list):
            raise DataError(f"{folder / _FILE} is no list of questions")
        for place, entry in numbered(content, folder / _FILE, "questions"):
            with gathered[part].entry("questions", place):
                text, answer, number = converted(entry, tuple[str, str, int], "question, answer, number of the picture")
                question = Question(text_in(text, "question"), (text_in(answer, "answer"),))
                gathered[part].picture(f"{number}.png", number).questions.append(question)
    return settled(gathered, options)


def _folders(root: Path) -> dict[str, Path]:
    if not root.is_dir() or is_output(root):
        return {}
    try:
        found = part_folders(root)
    except DataError:
        return {}
    return {str(part): path for part, path in found.items() if (path / _FILE).is_file() and (path / "images").is_dir()}
