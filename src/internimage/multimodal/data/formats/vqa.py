"""Questions and the answers of ten people as VQA has them, on COCO's pictures (Goyal et al., CVPR 2017).

Format: https://visualqa.org/vqa_v2.  ``v2_OpenEnded_mscoco_train2014_questions.json`` goes with
``v2_mscoco_train2014_annotations.json``; questions without such a file have no answers.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from internimage.data.formats.documents import read_json
from internimage.data.formats.parts import part_mentioned
from internimage.data.formats.shapes import BadEntryError
from internimage.multimodal.data.formats.looking import base_of, by_part, estimated, finder_of, json_files
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
from internimage.multimodal.data.pairs import Pairs, Question
from internimage.settings.data import DataOptions

NAME = "VQA"
EXAMPLE = "v2_OpenEnded_mscoco_train2014_questions.json and v2_mscoco_train2014_annotations.json with train2014/"
_DEVELOPMENT = "test-dev"
_PICTURES = re.compile(r"(train|val|test)(?:-\w+)?(20\d\d)")
_IDS = re.compile(rb'"image_id"\s*:\s*"?(\w+)')


class _Question(msgspec.Struct):
    question_id: Identity
    image_id: Identity
    question: str


class _Answer(msgspec.Struct):
    answer: str


class _Annotation(msgspec.Struct):
    question_id: Identity
    answers: list[_Answer]
    question_type: str = ""
    answer_type: str = ""


def recognise(root: Path) -> bool:
    """Whether there are VQA's questions."""
    return bool(_questions(root))


def estimate(root: Path, most: int) -> int:
    """How many pictures there are to train on, without parsing."""
    return estimated(_by_part(root), _IDS, most, distinct=True)


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, Pairs]:
    """The parts of a data set, by the names of their files; "test-dev" is one of its own.

    Raises:
        DataError: a file is no such JSON, or entries contradict the format.
    """
    base = base_of(root)
    annotations = by_part(base, json_files(base, "question_id", "answers"), _part)
    gathered = {}
    for part, file in chosen(_by_part(root), wanted).items():
        year = _PICTURES.search(file.stem)
        folder = f"{year[1]}{year[2]}" if year else ""
        finder = finder_of(root, part.removesuffix("-dev"), *([folder] if folder else []))
        gathered[part] = Gathering(part_title(root, part), NAME, finder)
        told = annotations.get(_part(file) or "all")
        answers = _answers(gathered[part], told) if told is not None else {}
        _read_questions(gathered[part], file, folder, answers)
    return settled(gathered, options)


def _answers(part: Gathering, file: Path) -> dict[Identity, _Annotation]:
    found = {}
    for where, entry in numbered(list_in(read_json(file), "annotations", file), file, "annotations"):
        with part.entry("questions", where):
            one = converted(entry, _Annotation, "question_id and answers")
            found[one.question_id] = one
    return found


def _read_questions(part: Gathering, file: Path, folder: str, answers: dict[Identity, _Annotation]) -> None:
    for where, entry in numbered(list_in(read_json(file), "questions", file), file, "questions"):
        with part.entry("questions", where):
            one = converted(entry, _Question, "question_id, image_id and question")
            told = answers.get(one.question_id)
            if told is None and answers:
                raise BadEntryError(f"question_id {one.question_id} has no annotation")
            said = tuple(text_in(answer.answer, "answer") for answer in told.answers) if told else ()
            kind, answer_kind = (told.question_type, told.answer_type) if told else ("", "")
            question = Question(text_in(one.question, "question"), said, kind, answer_kind, one.question_id)
            part.picture(_picture(part, one.image_id, folder), one.image_id).questions.append(question)


def _picture(part: Gathering, identity: Identity, folder: str) -> str:
    """The file's name of a COCO picture: COCO_train2014_000000000009.jpg, since 2017 the number alone."""
    number = f"{identity:012d}.jpg" if isinstance(identity, int) else f"{identity}.jpg"
    long = f"COCO_{folder}_{number}"
    return long if folder and part.finder.locate(long) is not None else number


def _by_part(root: Path) -> dict[str, Path]:
    return by_part(root, _questions(root), _part)


def _part(file: Path) -> str | None:
    return _DEVELOPMENT if _DEVELOPMENT in file.stem.lower() else part_mentioned(file.stem)


def _questions(root: Path) -> list[Path]:
    return json_files(root, "question_id", "question", "image_id")
