"""What Uni-Perceivers have in common: sequences, likelihoods, captions, answers and losses.

Zhu et al., "Uni-Perceiver", CVPR 2022, https://arxiv.org/abs/2112.01522.  A picture or a text becomes one sequence of
vectors, and one encoder reads them all; what fits together has features that point the same way.  How vectors come
about is each model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.errors import ConfigError, InputSizeError
from internimage.models.model import Model
from internimage.multimodal.information.gathering import gathered, gathered_texts
from internimage.multimodal.sequences.encoder import Encoder, Prefix
from internimage.multimodal.sequences.kinds import (
    CAPTION_PICTURE,
    CAPTION_TEXT,
    NAME,
    PICTURE,
    QUESTION,
    TEXT,
    WORD,
    Kind,
)
from internimage.multimodal.sequences.likelihood import Likelihood
from internimage.multimodal.sequences.losses import alike, named_loss, pair_loss
from internimage.multimodal.sequences.sight import caption_mask, sees
from internimage.multimodal.sequences.targets import MaskedTexts, NamedPictures, Questions, Sentences, WordTargets
from internimage.multimodal.words.beams import Decoding, Written, write
from internimage.multimodal.words.vocabulary import Ids, Vocabulary
from internimage.multimodal.words.writer import CaptionWriter
from internimage.text.clip import ClipTokenizer

_AT_ONCE = 4096  # words of the vocabulary that are encoded together


class WordModel(Model):
    """Pictures and texts to features; pictures to captions; pictures and questions to answers.

    Texts are ids that the model's ``tokenizer`` gives, with the end token.  Methods that take texts raise
    :class:`DataError` for words that the model does not know, and for longer ones than it reads.

    Attributes:
        vocabulary: the words that it knows.
        encoder: reads sequences.
        likelihood: what fits together.
    """

    vocabulary: Vocabulary
    encoder: Encoder
    likelihood: Likelihood
    backbone: Any

    class_tensors: ClassVar[tuple[str, ...]] = ()
    all_learn: ClassVar[bool] = False  # temperatures of other tasks, gates and experts that nobody asked
    gathers: ClassVar[bool] = False  # whether pictures and texts of all processes are compared with each other

    @property
    def tokenizer(self) -> Any:
        """What makes ids of texts: :class:`internimage.text.clip.ClipTokenizer`, or one with its interface."""
        return ClipTokenizer()

    # What each model does its own way

    def picture_tokens(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to tokens (N, tokens, d)."""
        raise NotImplementedError

    def front(self, count: int) -> Tensor:
        """SPE, which stands in front of every sequence: (count, 1, d)."""
        raise NotImplementedError

    def text_tokens(self, rows: Tensor, present: Tensor) -> Tensor:
        """Whole texts, rows (R, L) of the table of words of which some are ``present``, to (R, L, d)."""
        raise NotImplementedError

    def caption_tokens(self, rows: Tensor, present: Tensor) -> Tensor:
        """Captions in training, (R, L) to (R, 2 L, d): the words, each of which knows those before it alone, and the
        places that are to become them."""
        raise NotImplementedError

    def next_tokens(self, written: Tensor) -> Tensor:
        """Of captions so far (R, T) what comes behind them in writing, (R, 2, d): the last word, as
        :meth:`caption_tokens` has it, and the place of the next one; of no words (R, 0) the place alone, (R, 1, d)."""
        raise NotImplementedError

    def for_words(self) -> Self:
        """The model as it sees pictures that are described: itself."""
        return self

    # What a model promises

    def vectors(self, images: Tensor) -> dict[str, Tensor]:
        """What describes an image as a whole: "pooled", (N, d), the features by which it is found."""
        return {"pooled": self.encode_pictures(images)}

    def reset_classifier(self, num_classes: int) -> None:
        """Nothing for 0 classes.

        Raises:
            ConfigError: there are classes.
        """
        if num_classes:
            raise ConfigError(
                f"a Uni-Perceiver has no classifier to start anew for {num_classes} classes; names of classes are "
                "words: give their texts"
            )

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        return [*super().layer_prefixes(), *((f"encoder.layers.{number}.",) for number in range(self.config.layers))]

    def shardable(self) -> list[nn.Module]:
        """Blocks of the backbone, layers of the encoder."""
        return [*super().shardable(), *self.encoder.layers]

    def set_drop_path_rate(self, rate: float) -> None:
        """Stochastic depth: rising over the backbone's blocks, alike in all of the encoder's layers."""
        super().set_drop_path_rate(rate)
        self.encoder.set_drop_path_rate(rate)

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        super().set_gradient_checkpointing(enabled)
        self.encoder.gradient_checkpointing = enabled

    # Features

    def picture_states(self, tokens: Tensor, kind: Kind = PICTURE, present: Tensor | None = None) -> Prefix:
        """Tokens of pictures, with SPE in front, through the encoder.

        ``present`` (N, tokens) bool says which are no padding; None for all.
        """
        seen = None if present is None else sees(F.pad(present, (1, 0), value=True))
        return Prefix(*self.encoder(torch.cat([self.front(len(tokens)), tokens], dim=1), kind, seen=seen))

    def text_states(self, texts: Sequence[Ids], kind: Kind = NAME) -> tuple[Tensor, Tensor]:
        """R texts, with SPE in front, to outputs (R, 1 + L, d), and which are of a text, (R, 1 + L) bool."""
        rows, present = self.vocabulary.padded(texts, self.likelihood.norm.weight.device)
        x = torch.cat([self.front(len(rows)), self.text_tokens(rows, present)], dim=1)
        present = F.pad(present, (1, 0), value=True)
        outputs, _ = self.encoder(x, kind, seen=sees(present))
        return outputs, present

    def encode_pictures(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) or clips (N, T, C, H, W) to features (N, d) of length 1."""
        return self.likelihood.features(self.picture_states(self.picture_tokens(images)).outputs[:, 0])

    def encode_texts(self, texts: Sequence[Ids], kind: Kind = NAME) -> Tensor:
        """R texts to features (R, d) of length 1.

        Args:
            texts: captions and class names, or answers to questions.
            kind: :data:`internimage.multimodal.sequences.kinds.WORD` for answers; it matters to conditional experts.
        """
        return self.likelihood.features(self.text_states(texts, kind)[0][:, 0])

    def vocabulary_features(self) -> Tensor:
        """Features of every word that the model knows, (words, d), in the order of ``vocabulary.ids``.

        They depend on the weights alone: whoever writes many captions asks once.
        """
        every = torch.arange(len(self.vocabulary), device=self.likelihood.norm.weight.device)
        parts = []
        for some in every.split(_AT_ONCE):
            rows = torch.stack([some, torch.full_like(some, self.vocabulary.end)], dim=1)
            words = self.text_tokens(rows, torch.ones_like(rows, dtype=torch.bool))
            outputs, _ = self.encoder(torch.cat([self.front(len(some)), words], dim=1), WORD)
            parts.append(self.likelihood.features(outputs[:, 0]))
        return torch.cat(parts)

    # Captions and answers

    def prefix(self, images: Tensor) -> Prefix:
        """Images or clips, encoded once for the words that are written about them."""
        return self.picture_states(self.picture_tokens(images), CAPTION_PICTURE)

    @torch.no_grad()
    def decode(self, prefix: Prefix, vocabulary: Tensor | None = None, decoding: Decoding | None = None) -> Written:
        """A caption for each picture, as ids of the tokeniser.

        Args:
            prefix: see :meth:`prefix`.
            vocabulary: :meth:`vocabulary_features`, which are computed if None.
            decoding: how words are chosen.
        """
        features = self.vocabulary_features() if vocabulary is None else vocabulary
        written = write(self.writer(prefix, features), self.vocabulary.end, decoding or Decoding())
        ids = torch.tensor(self.vocabulary.ids, device=written.words.device)
        return Written(ids[written.words], written.log_probabilities, written.scores)

    def writer(self, prefix: Prefix, vocabulary: Tensor) -> CaptionWriter:
        """What :func:`internimage.multimodal.words.beams.write` calls; words are rows of ``vocabulary``."""
        encoder = self.encoder.merged(CAPTION_TEXT) if self.config.experts else self.encoder

        def score(outputs: Tensor) -> Tensor:
            return self.likelihood.logits("caption", self.likelihood.features(outputs), vocabulary)

        return CaptionWriter(encoder, self.next_tokens, score, prefix.memory)

    def answer(
        self, tokens: Tensor, questions: Sequence[Ids], answers: Tensor, rows: Sequence[int] | None = None
    ) -> Tensor:
        """Logits (R, answers) of answers to questions about pictures.

        Args:
            tokens: (N, tokens, d), :meth:`picture_tokens` of the pictures or clips.
            questions: R texts.
            answers: (answers, d), :meth:`encode_texts` of the answers that there are, as words.
            rows: the picture of each question; None for one question each.
        """
        if len(questions) != len(tokens if rows is None else rows):
            raise InputSizeError(
                f"there are {len(questions)} questions about {len(tokens)} pictures; expected one each"
            )
        outputs = self._asked(_of(tokens, rows), questions)
        return self.likelihood.logits("downstream", self.likelihood.features(outputs), answers)

    def forward(self, images: Tensor, vocabulary: Tensor | None = None) -> Written:
        """The likeliest caption of each picture, word by word; see :meth:`decode`."""
        return self.decode(self.prefix(images), vocabulary, Decoding(beams=1))

    def caption_states(self, prefix: Prefix, texts: Sequence[Ids]) -> tuple[Tensor, Tensor, Tensor]:
        """Captions in training: outputs (R, 2 L, d), the words' first and then those that are to match them.

        Also the words' rows (R, L), and which are present, (R, L) bool.
        """
        rows, present = self.vocabulary.padded(texts, prefix.outputs.device)
        seen = caption_mask(prefix.outputs.shape[1], present)
        tokens = self.caption_tokens(rows, present)
        outputs, _ = self.encoder(tokens, CAPTION_TEXT, seen=seen, memory=[prefix.memory])
        return outputs, rows, present

    # Losses

    def losses(self, images: Tensor, targets: WordTargets) -> dict[str, Tensor]:  # type: ignore[override]
        """The losses for which there are targets: "names", "captions", "pairs", "questions", "masked".

        The pictures' tokens are computed once; without experts, so is what the encoder makes of them.

        Args:
            images: (N, C, H, W), or clips.
            targets: see there.
        """
        results: dict[str, Tensor] = {}
        if targets.captions is not None or targets.masked is not None:
            vocabulary = self.vocabulary_features()
        if targets.masked is not None:
            results["masked"] = self._masked_loss(targets.masked, vocabulary)
        if not (targets.names or targets.captions or targets.pairs or targets.questions):
            return results
        tokens = self.picture_tokens(images)
        told_apart = self.config.experts > 0 or not (targets.names or targets.pairs)
        if targets.names or targets.pairs:
            states = self.picture_states(tokens)
        if targets.names is not None:
            results["names"] = self._named_loss(states, targets.names, "video_cls" if images.dim() == 5 else "img_cls")
        if targets.pairs is not None:
            results["pairs"] = self._pair_loss(states, targets.pairs)
        if targets.captions is not None:
            before = self.picture_states(tokens, CAPTION_PICTURE) if told_apart else states
            results["captions"] = self._caption_loss(before, targets.captions, vocabulary)
        if targets.questions is not None:
            results["questions"] = self._question_loss(tokens, targets.questions)
        return results

    def _named_loss(self, states: Prefix, targets: NamedPictures, task: Any) -> Tensor:
        pictures = self.likelihood.features(_of(states.outputs[:, 0], targets.rows))
        logits = self.likelihood.logits(task, pictures, self.encode_texts(targets.names))
        return named_loss(logits, targets.labels.to(logits.device))

    def _pair_loss(self, states: Prefix, targets: Sentences) -> Tensor:
        """Pictures to texts, and texts to pictures."""
        pictures = self.likelihood.features(_of(states.outputs[:, 0], targets.rows))
        features, texts = self.encode_texts(targets.texts), [list(one) for one in targets.texts]
        rows = list(range(len(texts))) if targets.rows is None else list(targets.rows)
        if self.gathers:
            pictures, features = gathered(pictures), gathered(features)
            texts, rows = gathered_texts(texts, rows)
        logits = self.likelihood.logits("retrieve", pictures, features)
        left_out = None
        if targets.alike_are_right:
            table, _ = self.vocabulary.padded(texts, logits.device)
            left_out = alike(table, torch.tensor(rows, device=logits.device))
        return pair_loss(logits, left_out) + pair_loss(logits.T, left_out)

    def _caption_loss(self, states: Prefix, targets: Sentences, vocabulary: Tensor) -> Tensor:
        if targets.rows is not None:
            states = states.take(torch.tensor(targets.rows, device=states.outputs.device))
        outputs, _, present = self.caption_states(states, targets.texts)
        rows, _ = self.vocabulary.padded(targets.texts, outputs.device)
        written = self.likelihood.features(outputs[:, rows.shape[1] :][present])
        logits = self.likelihood.logits("caption", written, vocabulary)
        return F.cross_entropy(logits, rows[present], label_smoothing=targets.label_smoothing)

    def _question_loss(self, tokens: Tensor, targets: Questions) -> Tensor:
        outputs = self.likelihood.features(self._asked(_of(tokens, targets.rows), targets.texts))
        logits = self.likelihood.logits("downstream", outputs, self.encode_texts(targets.choices, WORD))
        answers = torch.tensor(targets.answers, device=logits.device)
        return F.cross_entropy(logits, answers, label_smoothing=targets.label_smoothing)

    def _masked_loss(self, targets: MaskedTexts, vocabulary: Tensor) -> Tensor:
        outputs, _ = self.text_states(targets.texts, TEXT)
        places = [
            (text, place)
            for text, words in enumerate(targets.words)
            for place, one in enumerate(words)
            if one is not None
        ]
        wanted = [[one for words in targets.words for one in words if one is not None]]
        text, place = torch.tensor(places, device=outputs.device).T
        guessed = self.likelihood.features(outputs[text, 1 + place])
        right = torch.tensor(self.vocabulary.rows(wanted)[0], device=outputs.device)
        return F.cross_entropy(self.likelihood.logits("text_mlm", guessed, vocabulary), right)

    # Sequences

    def _asked(self, tokens: Tensor, questions: Sequence[Ids]) -> Tensor:
        """Outputs (N, d) at the SPE that stands before the end token of each question about a picture's tokens."""
        spe = self.vocabulary.ids[self.vocabulary.spe]
        texts = [[*question[:-1], spe, *question[-1:]] for question in questions]
        rows, present = self.vocabulary.padded(texts, tokens.device)
        x = torch.cat([self.front(len(rows)), tokens, self.text_tokens(rows, present)], dim=1)
        before = 1 + tokens.shape[1]
        outputs, _ = self.encoder(x, QUESTION, cut=before, seen=sees(F.pad(present, (before, 0), value=True)))
        place = before + present.sum(1) - 2
        return outputs[torch.arange(len(rows), device=place.device), place]


def _of(x: Tensor, rows: Sequence[int] | None) -> Tensor:
    """Some rows, or all."""
    return x if rows is None else x[torch.tensor(rows, device=x.device)]
