"""Settings of training a model of pictures and words.  No torch."""

from __future__ import annotations

from dataclasses import dataclass

from internimage.errors import ConfigError


@dataclass(frozen=True)
class WordsAugmentation:
    """How pictures and words are shown in training, and how much each task counts.

    A batch serves every task for which its pictures have words, and what they share is computed once.

    Attributes:
        captions: weight of writing captions.
        pairs: weight of finding captions by pictures and pictures by captions.
        questions: weight of answering.
        masked: weight of guessing words that are hidden in captions, without the picture.
        label_smoothing: share of the probability of a caption's word, and of an answer, that is spread over all.  What
            never came together in training stays possible: of the drawn world's unseen pairs of colour and shape .96
            were told with it by the same run that told .73 without.
        questions_each: how many questions of a picture a batch asks at most; 0 for 1 where there are captions to learn
            from too, 3 where there are none: with 1 easy-VQA's pictures were never looked at (docs/multimodal.md).
        mirror: probability that a picture is mirrored, and "left" and "right" exchanged in its words.
        min_scale: smallest share of a picture's area in a random crop; 1 for no crop.
    """

    captions: float = 1.0
    pairs: float = 0.5
    questions: float = 1.0
    masked: float = 0.0
    label_smoothing: float = 0.1
    questions_each: int = 0
    mirror: float = 0.0
    min_scale: float = 1.0

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in ("captions", "pairs", "questions", "masked")}
        for name, weight in weights.items():
            if weight < 0:
                raise ConfigError(f"{name} is {weight}; expected 0 or more")
        if self.questions_each < 0:
            raise ConfigError(f"questions_each is {self.questions_each}; expected 0 or more")
        if not any(weights.values()):
            raise ConfigError("captions, pairs, questions and masked are all 0: there is nothing to learn")
        if not (0 <= self.label_smoothing < 1 and 0 <= self.mirror <= 1 and 0 < self.min_scale <= 1):
            raise ConfigError("label_smoothing, mirror and min_scale are shares: 0 to 1, min_scale more than 0")
