"""Pictures to learn from, each with one of its captions and some of its questions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from internimage.data.dataset import OnCorrupt, PictureDataset
from internimage.images import ImageSource, Preprocessing
from internimage.multimodal.data.pairs import Described, Pairs, Question
from internimage.multimodal.describing.answers import shares
from internimage.multimodal.describing.settings import WordsAugmentation
from internimage.multimodal.words.vocabulary import Vocabulary
from internimage.settings.classification import ClassificationAugmentation
from internimage.tasks.classification.augmentation import training_transform
from internimage.text.clip import ClipTokenizer

LONGEST_CAPTION, LONGEST_QUESTION = 50, 22  # ids, with the end token
_HIDDEN = 0.15  # share of words to guess
_AS_SPE, _AS_OTHER = 0.8, 0.9  # up to which share of these SPE, then another word, stands in their place
_SIDES = re.compile(r"\b(left|right)\b", re.IGNORECASE)


@dataclass(frozen=True)
class WordSample:
    """A picture with words, ready for a batch.

    Attributes:
        image: (C, H, W) float32, normalised.
        caption: ids, with the end token; None where there is none.
        questions: ids, and the number of a right answer, of each.
        masked: the caption with hidden words, and these, None at other places.
        unreadable: files that could not be read and that this sample stands in for.
    """

    image: Tensor
    caption: list[int] | None = None
    questions: tuple[tuple[list[int], int], ...] = ()
    masked: tuple[list[int], list[int | None]] | None = None
    unreadable: tuple[str, ...] = ()


class WordDataset(PictureDataset[Described, WordSample]):
    """Reads pictures and chooses words.

    Args:
        data: the pictures.
        preprocessing: of pictures.
        augmentation: see there.
        words: that the model knows.
        answers: that it chooses among.
        seed, on_corrupt: see :class:`PictureDataset`.
        tokenizer: of the model.
    """

    def __init__(
        self,
        data: Pairs,
        preprocessing: Preprocessing,
        augmentation: WordsAugmentation,
        words: Vocabulary,
        answers: Sequence[str],
        seed: int = 0,
        on_corrupt: OnCorrupt = "error",
        *,
        tokenizer: Any = None,
    ) -> None:
        super().__init__(data.name, data.entries, seed, on_corrupt, preprocessing.read)
        self.augmentation = augmentation
        self.spe = words.special.spe
        self.words = [one for one in words.ids if one not in (words.special.end, self.spe)]
        self.known = frozenset(words.ids)
        self.numbers = {answer: number for number, answer in enumerate(answers)}
        self.tokenizer = tokenizer or ClipTokenizer()
        scale = augmentation.min_scale
        plain = ClassificationAugmentation(min_scale=scale, flip=0, rand_augment=0, colour_jitter=0, erasing=0)
        self.transform: Any = preprocessing if scale == 1 else training_transform(plain, preprocessing)

    def prepare(self, entry: Described, source: ImageSource, picture: Any, unreadable: tuple[str, ...]) -> WordSample:
        settings = self.augmentation
        mirrored = bool(torch.rand(()) < settings.mirror)
        image = self.transform(picture)
        image = image.flip(-1) if mirrored else image
        caption = masked = None
        if entry.captions and (settings.captions or settings.pairs or settings.masked):
            caption = self._ids(entry.captions[_one_of(len(entry.captions))], LONGEST_CAPTION, mirrored)
            masked = self._masked(caption) if settings.masked else None
        asked = self._asked(entry.questions, mirrored) if settings.questions else ()
        some = tuple(islice(asked, settings.questions_each or 1))
        return WordSample(image, caption, some, masked, unreadable)

    def _asked(self, questions: Sequence[Question], mirrored: bool) -> Iterator[tuple[list[int], int]]:
        """The questions with a known answer in random order, each with one of its right answers."""
        for place in torch.randperm(len(questions)).tolist():
            question = questions[place]
            if mirrored:
                question = Question(
                    _other_side(question.text), tuple(_other_side(answer) for answer in question.answers)
                )
            if right := shares(question, self.numbers):
                drawn = int(torch.multinomial(torch.tensor(list(right.values())), 1))
                yield self._ids(question.text, LONGEST_QUESTION, False), list(right)[drawn]

    def _ids(self, text: str, longest: int, mirrored: bool) -> list[int]:
        ids = self.tokenizer.encode(_other_side(text) if mirrored else text, longest)
        return [one for one in ids if one in self.known]

    def _masked(self, ids: list[int]) -> tuple[list[int], list[int | None]]:
        """Whole words are hidden; one at least."""
        words = self.tokenizer.words(ids[:-1])
        chosen = [word for word in words if torch.rand(()) < _HIDDEN] or words[: bool(words)]
        text, hidden = list(ids), [None] * len(ids)  # type: list[int], list[int | None]
        for word in chosen:
            draw = float(torch.rand(()))
            for place in word:
                hidden[place] = ids[place]
                text[place] = self.spe if draw < _AS_SPE else self._other() if draw < _AS_OTHER else ids[place]
        return text, hidden

    def _other(self) -> int:
        return self.words[_one_of(len(self.words))]


def _one_of(count: int) -> int:
    return int(torch.randint(count, ()))


def _other_side(text: str) -> str:
    """ "left" and "right" exchanged."""

    def other(found: re.Match[str]) -> str:
        return "right" if found[0].lower() == "left" else "left"

    return _SIDES.sub(other, text)
