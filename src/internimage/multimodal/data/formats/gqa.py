"""Questions with one answer as GQA has them: an object of questions by their ids (Hudson and Manning, CVPR 2019).

Format: https://cs.stanford.edu/people/dorarad/gqa/download.html.  A question's kind is its structural type.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from internimage.data.formats.documents import read_json
from internimage.data.formats.parts import part_mentioned
from internimage.errors import DataError
from internimage.multimodal.data.formats.looking import by_part, estimated, finder_of, json_files
from internimage.multimodal.data.gathering import (
    Gathering,
    Identity,
    chosen,
    converted,
    part_title,
    settled,
    text_in,
)
from internimage.multimodal.data.pairs import Pairs, Question
from internimage.settings.data import DataOptions

NAME = "GQA"
EXAMPLE = "train_balanced_questions.json with images/"
_IDS = re.compile(rb'"imageId"\s*:\s*"?(\w+)')


class _Question(msgspec.Struct):
    question: str
    imageId: Identity  # noqa: N815
    answer: str | None = None
    types: dict[str, Any] = {}


def recognise(root: Path) -> bool:
    """Whether there are GQA's questions."""
    return bool(_files(root))


def estimate(root: Path, most: int) -> int:
    """How many pictures there are to train on, without parsing."""
    return estimated(_by_part(root), _IDS, most, distinct=True)


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, Pairs]:
    """The parts of a data set, by the names of their files.

    Raises:
        DataError: a file is no such JSON, or entries contradict the format.
    """
    gathered = {}
    for part, file in chosen(_by_part(root), wanted).items():
        gathered[part] = Gathering(part_title(root, part), NAME, finder_of(root, part))
        content = read_json(file)
        if not isinstance(content, dict):
            raise DataError(f"{file} is no object of questions by their ids")
        for identity, entry in content.items():
            with gathered[part].entry("questions", f"{file}: {identity}"):
                one = converted(entry, _Question, "question, answer and imageId")
                answers = () if one.answer is None else (text_in(one.answer, "answer"),)
                kind = str(one.types.get("structural") or "")
                question = Question(text_in(one.question, "question"), answers, kind, id=identity)
                gathered[part].picture(f"{one.imageId}.jpg", one.imageId).questions.append(question)
    return settled(gathered, options)


def _by_part(root: Path) -> dict[str, Path]:
    """Where questions of a part are there balanced and all, the balanced ones."""
    files = _files(root)
    balanced = {part_mentioned(file.stem) for file in files if "balanced" in file.stem}
    kept = [file for file in files if "balanced" in file.stem or part_mentioned(file.stem) not in balanced]
    return by_part(root, kept, lambda file: part_mentioned(file.stem))


def _files(root: Path) -> list[Path]:
    return json_files(root, "imageId", "question")
