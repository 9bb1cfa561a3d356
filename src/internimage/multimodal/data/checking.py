"""Looking over pictures with words before hours are spent on them.  Reads only, of pictures their headers.

What contradicts a format outright, such as a caption that is empty, is found by its reader.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from internimage.data.checking import kind_lines
from internimage.data.samples import ImageFile
from internimage.errors import ImageReadError
from internimage.images.reader import picture_size
from internimage.multimodal.data.pairs import Described, Pairs
from internimage.writing import counted

_SHARED = 0.01  # of the pictures that have one caption in common
_SHARED_LEAST = 10
_LONG = 500  # characters of a text; models read 20 to 80 pieces of words
_QUOTED = 60


@dataclass
class PairFindings:
    """What is wrong or odd about pictures with words.

    Attributes:
        pictures, captions, questions: how many there are.
        missing: pictures that are not there.
        corrupt: pictures whose headers cannot be read, with the reason.
        wordless: captions without a letter or a digit.
        repeated: captions that 1 % of the pictures have, and ten or more, with how many.
        long: texts of more than 500 characters, of which models read the beginning.
        unanswered: questions without answers.
    """

    pictures: int = 0
    captions: int = 0
    questions: int = 0
    missing: list[str] = field(default_factory=list)
    corrupt: dict[str, str] = field(default_factory=dict)
    wordless: list[str] = field(default_factory=list)
    repeated: dict[str, int] = field(default_factory=dict)
    long: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)

    @property
    def errors(self) -> bool:
        """Whether training would stumble or learn what is not there."""
        return bool(self.missing or self.corrupt or self.wordless)

    def lines(self, name: str) -> list[str]:
        """The findings as text, for a part of this name."""
        total = ((self.pictures, "picture"), (self.captions, "caption"), (self.questions, "question"))
        kinds = {
            "missing": self.missing,
            "cannot be read": [f"{path}: {reason}" for path, reason in self.corrupt.items()],
            "caption without words": self.wordless,
            "one caption of many pictures": [f"{_quoted(text)}: {count}" for text, count in self.repeated.items()],
            "very long, models read the beginning": self.long,
            "question without answers": self.unanswered,
        }
        return [f"{name}: {', '.join(counted(*one) for one in total)}", *kind_lines(kinds)]


def check_pairs(
    part: Pairs,
    progress: Callable[[Iterable[Described]], Iterable[Described]] = iter,
) -> PairFindings:
    """Go through the words once, and look at the header of each picture.

    Args:
        part: of a data set.
        progress: wraps the pictures.
    """
    found = PairFindings(len(part))
    shared: Counter[str] = Counter()
    with ThreadPoolExecutor() as pool:
        looks = pool.map(_look, part.files)
        for one, outcome in zip(progress(part.described), looks, strict=True):
            _add_picture(found, one.file, outcome)
            _add_words(found, one)
            shared.update(set(one.captions))
    many = max(_SHARED_LEAST, _SHARED * len(part))
    found.repeated = {text: count for text, count in shared.most_common() if count >= many}
    return found


def _look(file: ImageFile) -> ImageReadError | None:
    try:
        picture_size(file)
    except ImageReadError as error:
        return error
    return None


def _add_picture(found: PairFindings, file: ImageFile, outcome: ImageReadError | None) -> None:
    path = str(file)
    if outcome is not None and isinstance(file, Path) and not file.exists():
        found.missing.append(path)
    elif outcome is not None:
        found.corrupt[path] = str(outcome).removeprefix(f"{path}: ")


def _add_words(found: PairFindings, one: Described) -> None:
    found.captions += len(one.captions)
    found.questions += len(one.questions)
    for caption in one.captions:
        if not any(map(str.isalnum, caption)):
            found.wordless.append(f"{one.file}: {_quoted(caption)}")
    for text in (*one.captions, *(question.text for question in one.questions)):
        if len(text) > _LONG:
            found.long.append(f"{one.file}: {len(text)} characters, {_quoted(text)}")
    for question in one.questions:
        if not question.answers:
            found.unanswered.append(f"{one.file}: {_quoted(question.text)}")


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _QUOTED else f"{text[:_QUOTED]}...")
