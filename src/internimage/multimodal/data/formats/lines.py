"""One picture a line, with its captions and questions: our own format, and Flickr30k's lines.

    {"file": "pictures/000001.png", "captions": ["a red circle"],
     "questions": [{"question": "what colour is it?", "answers": ["red"], "kind": "colour"}]}

A part is a file: ``train.jsonl``, ``val.jsonl``, ``test.jsonl`` or another name; ``pictures.jsonl`` is of no part.
``"caption": "..."`` and ``"answer": "..."`` stand for one.  Lines of Flickr30k have ``img_path`` and ``sentences``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from internimage.data.formats.documents import read_text
from internimage.data.formats.parts import part_named
from internimage.data.formats.pictures import PictureFinder, is_hidden, is_output
from internimage.data.formats.shapes import BadEntryError
from internimage.errors import DataError
from internimage.multimodal.data.formats.looking import base_of, by_part, first_line
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

NAME = "JSON lines"
EXAMPLE = 'train.jsonl with {"file": "pictures/1.png", "captions": [...], "questions": [...]} a line'
_WORDS = ("captions", "caption", "questions", "sentences")
_WHOLE = "pictures"


class _Question(msgspec.Struct):
    question: str
    answers: list[str] = []
    answer: str | None = None
    kind: str = ""
    answer_kind: str = ""
    id: Identity | None = None


class _Line(msgspec.Struct):
    file: str | None = None
    img_path: str | None = None
    captions: list[str] = []
    caption: str | None = None
    sentences: list[str] = []
    questions: list[Any] = []
    id: Identity | None = None


def recognise(root: Path) -> bool:
    """Whether there are such lines."""
    return bool(_files(root))


def estimate(root: Path, most: int) -> int:
    """How many pictures there are to train on."""
    files = _by_part(root)
    file = files.get("train") or files.get("all")
    if file is None:
        return 0
    with file.open("rb") as lines:
        return sum(1 for _ in islice(lines, most))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, Pairs]:
    """The parts of a data set; pictures lie at their paths below its folder.

    Raises:
        DataError: a file is no JSON lines, or lines contradict the format.
    """
    gathered = {}
    for part, file in chosen(_by_part(root), wanted).items():
        gathered[part] = Gathering(part_title(root, part), NAME, PictureFinder([base_of(root)], base_of(root)))
        for where, line in _lines(file):
            with gathered[part].entry("pictures", where):
                _read_line(gathered[part], where, line)
    return settled(gathered, options)


def _read_line(part: Gathering, where: str, content: Any) -> None:
    line = converted(content, _Line, 'a line such as {"file": "pictures/1.png", "captions": ["..."]}')
    captions = [*line.captions, *line.sentences, *([line.caption] if line.caption is not None else [])]
    if not captions and not line.questions:
        raise BadEntryError("neither captions nor questions; expected one of them")
    picture = part.picture(line.file if line.file is not None else line.img_path, line.id)
    for number, caption in enumerate(captions):
        with part.entry("captions", f"{where} captions[{number}]"):
            picture.captions.append(text_in(caption, "caption"))
    for number, question in enumerate(line.questions):
        with part.entry("questions", f"{where} questions[{number}]"):
            picture.questions.append(_question(question))


def _question(content: Any) -> Question:
    one = converted(content, _Question, 'a question such as {"question": "...", "answers": ["..."]}')
    answers = [*one.answers, *([one.answer] if one.answer is not None else [])]
    told = tuple(text_in(answer, "answer") for answer in answers)
    return Question(text_in(one.question, "question"), told, one.kind, one.answer_kind, one.id)


def _lines(file: Path) -> Iterator[tuple[str, Any]]:
    for number, text in enumerate(read_text(file).split("\n"), 1):
        if text.strip():
            try:
                yield f"{file} line {number}", json.loads(text)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{file} line {number} is not readable JSON: {error}") from error


def _by_part(root: Path) -> dict[str, Path]:
    """Files of parts; where there is none, the one of all pictures."""

    def named(file: Path) -> str | None:
        return "all" if file.stem.lower() == _WHOLE else part_named(file.stem)

    files = by_part(root, _files(root), named)
    return {part: file for part, file in files.items() if part != "all"} or files


def _files(root: Path) -> list[Path]:
    if root.is_file():
        files = [root] if root.suffix.lower() == ".jsonl" else []
    else:
        files = sorted(root.glob("*.jsonl")) if root.is_dir() and not is_output(root) else []
    return [file for file in files if not is_hidden(file.name) and _is_ours(first_line(file))]


def _is_ours(line: dict[str, Any]) -> bool:
    return ("file" in line or "img_path" in line) and any(word in line for word in _WORDS)
