"""From pictures to words: what predictor, trainer and ``evaluate`` run alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from internimage.errors import ConfigError
from internimage.images import ImageSource, Preprocessing
from internimage.inference.blame import finite
from internimage.inference.views import preparation
from internimage.multimodal.data.pairs import Described
from internimage.multimodal.describing.dataset import LONGEST_CAPTION, LONGEST_QUESTION
from internimage.multimodal.models.words import WordModel
from internimage.multimodal.results.words import PictureWords
from internimage.multimodal.sequences.kinds import CAPTION_PICTURE, WORD
from internimage.multimodal.words.beams import Decoding
from internimage.settings.views import PredictionOptions, refuse_for_detectors

_AT_ONCE = 256  # texts or questions that are read together


class WordsPipeline:
    """See :class:`internimage.contracts.Pipeline`; ``known`` are a picture's texts and questions, or None.

    Args:
        model: see there.
        options: the depth of pixels alone.
        decoding: how words of captions are chosen; None for the likeliest each time.
    """

    def __init__(
        self,
        model: WordModel,
        options: PredictionOptions = PredictionOptions(),  # noqa: B008
        decoding: Decoding | None = None,
    ) -> None:
        if options.augmentation is not None or options.keep_scores or options.window != "model":
            raise ConfigError("test-time augmentation, windows and scores of pixels are for detectors and segmenters")
        refuse_for_detectors(options, "a model of pictures and words sees a picture as a whole")
        self.prepare = preparation(model, options, Preprocessing)
        self.read = self.prepare.read
        self.model = model
        self.decoding = decoding or Decoding(beams=1, steps=min(LONGEST_CAPTION, model.config.longest))
        self.labels: tuple[str, ...] | None = model.config.answers
        self.classes = len(model.config.answers)
        self.tokenizer = model.tokenizer
        self._targets: tuple[int, Tensor | None, Tensor | None] | None = None

    @torch.inference_mode()
    def predict(
        self, prepared: Sequence[Tensor], sources: Sequence[ImageSource], known: Sequence[Described | None]
    ) -> list[PictureWords]:
        weight = next(self.model.parameters())
        images = torch.stack(list(prepared)).to(weight.device, weight.dtype)
        described = [one or Described(source.name) for one, source in zip(known, sources, strict=True)]  # type: ignore[arg-type]
        tokens = finite(self.model, partial(self.model.picture_tokens, images))
        results = self._captioned([PictureWords(source, None, None) for source in sources], tokens)
        results = self._compared(results, tokens)
        results = [self._with_texts(result, one.captions) for result, one in zip(results, described, strict=True)]
        return self._answered(results, tokens, described)

    def _captioned(self, results: list[PictureWords], tokens: Tensor) -> list[PictureWords]:
        if "captions" not in self.model.config.learnt:
            return results
        prefix = finite(self.model, partial(self.model.picture_states, tokens, CAPTION_PICTURE))
        written = self.model.decode(prefix, self.targets()[0], self.decoding)
        scores = written.log_probabilities.float().sum(1).exp().tolist()
        return [
            replace(result, caption=self.tokenizer.decode(ids), score=score)
            for result, ids, score in zip(results, written.words.tolist(), scores, strict=True)
        ]

    def _compared(self, results: list[PictureWords], tokens: Tensor) -> list[PictureWords]:
        if "pairs" not in self.model.config.learnt:
            return results
        states = finite(self.model, partial(self.model.picture_states, tokens))
        features = self.model.likelihood.features(states.outputs[:, 0]).float().cpu().numpy()
        return [replace(result, picture=row) for result, row in zip(results, features, strict=True)]

    def _with_texts(self, result: PictureWords, texts: Sequence[str]) -> PictureWords:
        if not texts or result.picture is None:
            return result
        ids, unknown = self.read_texts(texts, LONGEST_CAPTION)
        features = torch.cat([self.model.encode_texts(ids[i : i + _AT_ONCE]) for i in range(0, len(ids), _AT_ONCE)])
        return replace(result, captions=features.float().cpu().numpy(), unknown=result.unknown + sum(unknown))

    def _answered(
        self, results: list[PictureWords], tokens: Tensor, described: Sequence[Described]
    ) -> list[PictureWords]:
        answers = self.targets()[1]
        asked = [(row, question.text) for row, one in enumerate(described) for question in one.questions]
        if answers is None or not asked:
            return results
        said: list[list[str]] = [[] for _ in results]
        unknown = [result.unknown for result in results]
        for start in range(0, len(asked), _AT_ONCE):
            rows, texts = zip(*asked[start : start + _AT_ONCE], strict=True)
            ids, partly = self.read_texts(texts, LONGEST_QUESTION)
            best = self.model.answer(tokens, ids, answers, rows).argmax(1).tolist()
            for row, number, one in zip(rows, best, partly, strict=True):
                said[row].append(self.model.config.answers[number])
                unknown[row] += one
        return [
            replace(result, answers=tuple(one), unknown=count)
            for result, one, count in zip(results, said, unknown, strict=True)
        ]

    def read_texts(self, texts: Sequence[str], longest: int) -> tuple[list[list[int]], list[bool]]:
        """Ids of texts without words that the model does not know, and which texts have such."""
        every = [self.tokenizer.encode(text, longest) for text in texts]
        if self.model.config.vocabulary is None:
            return every, [False] * len(every)
        known = frozenset(self.model.vocabulary.ids)
        kept = [[one for one in ids if one in known] for ids in every]
        return kept, [len(one) < len(ids) for one, ids in zip(kept, every, strict=True)]

    def targets(self) -> tuple[Tensor | None, Tensor | None]:
        """Features of the words that captions are made of, and of the answers; once for each state of the weights."""
        state = sum(one._version for one in self.model.parameters())  # a model may be learning meanwhile
        if self._targets is None or self._targets[0] != state:
            config: Any = self.model.config
            words = self.model.vocabulary_features() if "captions" in config.learnt else None
            answers = None
            if config.answers:
                answers = self.model.encode_texts([self.tokenizer.encode(one) for one in config.answers], WORD)
            self._targets = state, words, answers
        return self._targets[1:]
