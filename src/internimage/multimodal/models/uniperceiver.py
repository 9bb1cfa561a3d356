"""Uni-Perceiver (Zhu et al., CVPR 2022, https://arxiv.org/abs/2112.01522), also with conditional experts.

Uni-Perceiver-MoE: Zhu et al., NeurIPS 2022, https://arxiv.org/abs/2206.04674.  A picture or a text becomes one sequence
of vectors, and one encoder reads them all; what fits together has features that point the same way.  Pictures are cut
into patches, as released, or are the last map of an InternImage.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.errors import ConfigError, InputSizeError
from internimage.models.model import Model
from internimage.multimodal.models.config import UniPerceiverConfig
from internimage.multimodal.sequences.beams import Decoding, Written, write
from internimage.multimodal.sequences.embeddings import PictureEmbedding, TextEmbedding
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
from internimage.multimodal.sequences.patches import PatchConfig, Patches
from internimage.multimodal.sequences.sight import caption_mask, sees
from internimage.multimodal.sequences.targets import MaskedTexts, NamedPictures, Questions, Sentences, WordTargets
from internimage.multimodal.sequences.vocabulary import Ids, Vocabulary
from internimage.multimodal.sequences.writer import CaptionWriter

_AT_ONCE = 4096  # words of the vocabulary that are encoded together


class UniPerceiver(Model):
    """Pictures, clips and texts to features; pictures to captions; pictures and questions to answers.

    Texts are ids of :class:`internimage.text.clip.ClipTokenizer`, with the end token, whatever the model's vocabulary.
    Methods that take texts raise :class:`DataError` for words that the model does not know, and for longer ones than
    it reads.
    """

    config: UniPerceiverConfig
    backbone: Any

    class_tensors = ()
    all_learn = False  # temperatures of other tasks, gates and experts that nobody asked

    def __init__(self, config: UniPerceiverConfig) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary(config.vocabulary)
        kind = config.backbone
        patches = isinstance(kind, PatchConfig)
        level = max(0, len(kind.depths) - 1) if config.out_level is None else config.out_level
        self.backbone = self.build_backbone(config, (level,))
        self.text = TextEmbedding(len(self.vocabulary), config.width, config.longest)
        self.pictures = PictureEmbedding(
            None if patches else self.backbone.feature_channels[0],
            config.width,
            config.frames,
            config.span,
            kind.image // kind.patch if isinstance(kind, PatchConfig) else None,
        )
        self.norm = nn.LayerNorm(config.width)  # of words and of pictures
        self.encoder = Encoder(
            config.layers, config.width, config.heads, config.feed_forward, config.experts, config.layer_scale
        )
        self.likelihood = Likelihood(config.width, released=patches)

    @classmethod
    def build_backbone(cls, config: UniPerceiverConfig, out_indices: Sequence[int] = (0, 1, 2, 3)) -> Any:
        if isinstance(config.backbone, PatchConfig):
            return Patches(config.backbone, config.width)
        return super().build_backbone(config, out_indices)

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

    def take_words(self, ids: Iterable[int]) -> None:
        """Know these of CLIP's words too, from now on; they start anew.  A model of all words knows them already."""
        if self.config.vocabulary is None:
            return
        vocabulary = Vocabulary([*self.vocabulary.ids, *ids])
        self.text.take_words(self.vocabulary.ids, vocabulary.ids)
        self.vocabulary = vocabulary
        self.config = replace(self.config, vocabulary=vocabulary.ids)

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

    def picture_tokens(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) or clips (N, T, C, H, W) to tokens (N, tokens, d), moment by moment and row by row."""
        if images.dim() not in (4, 5):
            raise InputSizeError(
                f"images are {tuple(images.shape)}; expected (N, C, H, W), or (N, T, C, H, W) of clips"
            )
        clips = images[:, None] if images.dim() == 4 else images
        count, moments = clips.shape[:2]
        maps = self.backbone(clips.flatten(0, 1))[-1].unflatten(0, (count, moments))
        latest = self.config.frames - moments
        start = None
        if self.training and self.config.random_time and latest > 0:
            start = torch.randint(0, latest + 1, (count,), device=images.device)
        tokens: Tensor = self.norm(self.pictures(maps, start))
        return tokens

    def picture_states(self, tokens: Tensor, kind: Kind = PICTURE) -> Prefix:
        """Tokens of pictures, with SPE in front, through the encoder."""
        return Prefix(*self.encoder(torch.cat([self._front(len(tokens)), tokens], dim=1), kind))

    def text_states(self, texts: Sequence[Ids], kind: Kind = NAME) -> tuple[Tensor, Tensor]:
        """R texts, with SPE in front, to outputs (R, 1 + L, d), and which are of a text, (R, 1 + L) bool."""
        rows, present = self.vocabulary.padded(texts, self.norm.weight.device)
        present = F.pad(present, (1, 0), value=True)
        x = torch.cat([self._front(len(rows)), self._words(rows)], dim=1)
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
        every = torch.arange(len(self.vocabulary), device=self.norm.weight.device)
        parts = []
        for some in every.split(_AT_ONCE):
            rows = torch.stack([some, torch.full_like(some, self.vocabulary.end)], dim=1)
            outputs, _ = self.encoder(torch.cat([self._front(len(some)), self._words(rows)], dim=1), WORD)
            parts.append(self.likelihood.features(outputs[:, 0]))
        return torch.cat(parts)

    # Captions and answers

    def prefix(self, images: Tensor) -> Prefix:
        """Images or clips, encoded once for the words that are written about them."""
        return self.picture_states(self.picture_tokens(images), CAPTION_PICTURE)

    @torch.no_grad()
    def decode(self, prefix: Prefix, vocabulary: Tensor | None = None, decoding: Decoding | None = None) -> Written:
        """A caption for each picture, as CLIP's ids.

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
        """What :func:`internimage.multimodal.sequences.beams.write` calls; words are rows of ``vocabulary``."""
        encoder = self.encoder.merged(CAPTION_TEXT) if self.config.experts else self.encoder

        def score(outputs: Tensor) -> Tensor:
            return self.likelihood.logits("caption", self.likelihood.features(outputs), vocabulary)

        return CaptionWriter(encoder, self._words, score, prefix.memory, self.vocabulary.spe)

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
        words = torch.cat([self._words(rows), self._words(torch.full_like(rows, self.vocabulary.spe))], dim=1)
        seen = caption_mask(prefix.outputs.shape[1], present)
        outputs, _ = self.encoder(words, CAPTION_TEXT, seen=seen, memory=[prefix.memory])
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
        logits = self.likelihood.logits("retrieve", pictures, self.encode_texts(targets.texts))
        left_out = None
        if targets.alike_are_right:
            rows = torch.arange(len(logits)) if targets.rows is None else torch.tensor(targets.rows)
            table, _ = self.vocabulary.padded(targets.texts, logits.device)
            left_out = alike(table, rows.to(logits.device))
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

    def _front(self, count: int) -> Tensor:
        """SPE, without position and type: (count, 1, d)."""
        front: Tensor = self.norm(self.text.words.weight[self.vocabulary.spe])
        return front.expand(count, 1, -1)

    def _words(self, rows: Tensor, start: int = 0) -> Tensor:
        """Rows (N, L) of the table of words to (N, L, d), the first of them at position ``start``."""
        words: Tensor = self.norm(self.text(rows, self.text.counted(start + rows.shape[1])[start:]))
        return words

    def _asked(self, tokens: Tensor, questions: Sequence[Ids]) -> Tensor:
        """Outputs (N, d) at the SPE that stands before the end token of each question about a picture's tokens."""
        spe = self.vocabulary.ids[self.vocabulary.spe]
        texts = [[*question[:-1], spe, *question[-1:]] for question in questions]
        rows, present = self.vocabulary.padded(texts, tokens.device)
        x = torch.cat([self._front(len(rows)), tokens, self._words(rows)], dim=1)
        before = 1 + tokens.shape[1]
        outputs, _ = self.encoder(x, QUESTION, cut=before, seen=sees(F.pad(present, (before, 0), value=True)))
        place = before + present.sum(1) - 2
        return outputs[torch.arange(len(rows), device=place.device), place]


def _of(x: Tensor, rows: Sequence[int] | None) -> Tensor:
    """Some rows, or all."""
    return x if rows is None else x[torch.tensor(rows, device=x.device)]
