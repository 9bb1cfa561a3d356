"""What a model of pictures and words learns from, besides the pictures: texts as CLIP's ids, and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from internimage.multimodal.words.vocabulary import Ids
from internimage.structures.detection import DetectionTarget


@dataclass(frozen=True)
class NamedPictures:
    """Classification by names.

    Attributes:
        names: a text for each class.
        labels: (R,) int64, or (R, classes) shares of sum 1.
        rows: the R pictures of the batch that this is about; None for all.
    """

    names: Sequence[Ids]
    labels: Tensor
    rows: Sequence[int] | None = None


@dataclass(frozen=True)
class Sentences:
    """Captions, to be written or to be found.

    Attributes:
        texts: R texts.
        rows: the picture of each, which may have several; None for all pictures, in order.
        alike_are_right: in retrieval, whether a text that is that of another picture word by word, and another text of
            the same picture, are left out of what counts as wrong.
        label_smoothing: in writing, the share of a word's probability that is spread over all words; 0 as published.
    """

    texts: Sequence[Ids]
    rows: Sequence[int] | None = None
    alike_are_right: bool = True
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class Questions:
    """Questions about pictures.

    Attributes:
        texts: R questions.
        choices: a text for each answer that there is.
        answers: of each question the number of the right one; of several, one that was drawn.
        rows: see :class:`Sentences`.
        label_smoothing: the share of an answer's probability that is spread over all; 0 as published.
    """

    texts: Sequence[Ids]
    choices: Sequence[Ids]
    answers: Sequence[int]
    rows: Sequence[int] | None = None
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class MaskedTexts:
    """Texts with words to be guessed.

    Attributes:
        texts: with SPE or other words in some places.
        words: for each text the id of the word that belongs at each place; None where nothing is to be guessed.
    """

    texts: Sequence[Ids]
    words: Sequence[Sequence[int | None]]


@dataclass(frozen=True)
class NamedObjects:
    """Objects with names.

    Attributes:
        names: a text for each class of objects.
        sizes: (height, width) of each picture without the padding of the batch.
        truth: the objects of each picture, with masks; labels are numbers of ``names``.
    """

    names: Sequence[Ids]
    sizes: Sequence[tuple[int, int]]
    truth: Sequence[DetectionTarget]


@dataclass(frozen=True)
class WordTargets:
    """Of one batch of pictures, what there is."""

    names: NamedPictures | None = None
    captions: Sentences | None = None
    pairs: Sentences | None = None
    questions: Questions | None = None
    masked: MaskedTexts | None = None
