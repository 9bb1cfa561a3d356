"""Our own models behind the protocol of what captions and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from internimage.errors import ConfigError, DataError, InputSizeError
from internimage.inference.blame import finite
from internimage.inference.predictor import load_for_inference
from internimage.multimodal.backends.describing import Told, check_question
from internimage.multimodal.describing.dataset import LONGEST_QUESTION
from internimage.multimodal.describing.pipeline import WordsPipeline
from internimage.multimodal.models.words import WordModel
from internimage.multimodal.words.beams import Decoding
from internimage.settings.decoding import DecodingOptions

if TYPE_CHECKING:
    from PIL import Image

_OTHERS = 4  # answers that are told besides the best


class OwnDescriber:
    """A :class:`internimage.multimodal.models.words.WordModel`, see
    :class:`internimage.multimodal.backends.describing.Describer`.

    A caption's score is the mean log-probability of its tokens, the end included; an answer's its log-probability.

    Args:
        name: of a released model, or a model folder or a run's.
        device, dtype: see :func:`internimage.multimodal.backends.opening.open_describer`.
    """

    backend = "internimage"

    def __init__(self, name: str, *, device: str = "auto", dtype: str = "float32") -> None:
        self.name = name
        model: Any = load_for_inference(name, None, None, device, getattr(torch, dtype))
        self.model: WordModel = model.for_words()
        self.pipeline = WordsPipeline(self.model)

    @torch.inference_mode()
    def caption(self, pictures: Sequence[Image.Image], options: DecodingOptions) -> list[Told]:
        """One sentence for each picture.

        Raises:
            ConfigError: the model has not learnt to write.
        """
        if "captions" not in self.model.config.learnt:
            raise ConfigError(f"{self.name} has learnt {', '.join(self.model.config.learnt)}; it writes no captions")
        temperature = options.temperature if options.sample else None
        steps = min(options.longest, self.model.config.longest)
        decoding = Decoding(options.beams, steps, 0.0, temperature, options.top_p, options.seed)
        prefix = finite(self.model, lambda: self.model.prefix(self._images(pictures)))
        written = self.model.decode(prefix, self.pipeline.targets()[0], decoding)
        counts = (written.log_probabilities != 0).sum(1).clamp(min=1)
        scores = (written.log_probabilities.float().sum(1) / counts).tolist()
        texts = map(self.pipeline.tokenizer.decode, written.words.tolist())
        return [Told(text, score, self.name, self.backend) for text, score in zip(texts, scores, strict=True)]

    @torch.inference_mode()
    def ask(self, pictures: Sequence[Image.Image], questions: Sequence[str], options: DecodingOptions) -> list[Told]:
        """The answer to one question for each picture, of those that the model knows; the next best ones with it.

        Raises:
            ConfigError: the model knows no answers, or is to draw them.
            DataError: none of a question's words is known to the model, or one of them is not.
            InputSizeError: there are more or fewer questions than pictures.
        """
        if len(pictures) != len(questions):
            raise InputSizeError(f"{len(questions)} questions for {len(pictures)} pictures; expected one each")
        answers = self.model.config.answers
        if not answers:
            raise ConfigError(f"{self.name} has learnt {', '.join(self.model.config.learnt)}; it answers no questions")
        if options.sample or options.beams > 1:
            raise ConfigError(f"{self.name} chooses among {len(answers)} answers; sampling and beams are for captions")
        ids = [self.pipeline.tokenizer.encode(check_question(one)) for one in questions]
        for question, one in zip(questions, ids, strict=True):
            if len(one) > LONGEST_QUESTION:
                raise DataError(
                    f"{question[:60]!r} has {len(one) - 1} pieces of words; expected {LONGEST_QUESTION - 1} or fewer"
                )
        features = self.pipeline.targets()[1]
        assert features is not None
        logits = self.model.answer(self.model.picture_tokens(self._images(pictures)), ids, features)
        best = logits.float().log_softmax(1).topk(min(len(answers), 1 + _OTHERS))
        told = []
        for scores, numbers in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            (text, score), *others = ((answers[number], score) for number, score in zip(numbers, scores, strict=True))
            told.append(Told(text, score, self.name, self.backend, tuple(others)))
        return told

    def _images(self, pictures: Sequence[Image.Image]) -> Tensor:
        weight = next(self.model.parameters())
        return torch.stack([self.pipeline.prepare(one) for one in pictures]).to(weight.device, weight.dtype)
