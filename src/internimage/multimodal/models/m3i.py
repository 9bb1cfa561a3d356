"""M3I: Maximizing Multi-modal Mutual Information, pre-training of a backbone in one stage.

Su et al., "Towards All-in-one Pre-training via Maximizing Multi-modal Mutual Information", CVPR 2023.  A backbone
learns from whatever a picture comes with: its class, a text, and itself, seen again.  An input is two pictures mixed
cell by cell.  Of the first one the hidden cells are predicted, of the second one another view; the targets are the last
map of a moving average of the backbone.  No code was released: sizes, weights and exact terms are this project's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.backbones.composite import Backbone
from internimage.errors import ConfigError, InputSizeError
from internimage.models.model import Model
from internimage.multimodal.information.decoder import Decoder
from internimage.multimodal.information.gathering import gathered, place_among_processes
from internimage.multimodal.information.losses import averaging, choice_loss, dense_errors, dense_loss, spread_loss
from internimage.multimodal.information.mixing import mix, other_places, tokens_of, visible_mean
from internimage.multimodal.information.texts import TextEncoder
from internimage.multimodal.models.m3i_config import M3IConfig
from internimage.multimodal.sequences.embeddings import START_STD
from internimage.multimodal.words.vocabulary import Ids, Vocabulary
from internimage.text.clip import END
from internimage.training.distributed import local_tensors

INTRA, INTER, LABELS, TEXTS, SPREAD = "intra", "inter", "labels", "texts", "spread"
_FEED_FORWARD = 4


@dataclass(frozen=True)
class ViewTargets:
    """What one batch of input views is to tell.

    Attributes:
        asked: of "intra", "inter", "labels", "texts" and "spread" those that are learnt; alike on all processes.
        cells: (N, h, w) bool, true where an input shows the picture of its own place in the batch.
        partners: (N,) int64, places of the pictures that it shows elsewhere.
        others: (N, C, H, W), another view of each picture.
        placement: (N, 4), where that is; see :func:`internimage.multimodal.information.mixing.other_places`.
        labels: (N,) int64, -1 for a picture without.
        texts: ids of a text of each picture; None for a picture without.
        text_keys: (N,) int64, equal where texts are.
    """

    asked: tuple[str, ...]
    cells: Tensor
    partners: Tensor
    others: Tensor | None = None
    placement: Tensor | None = None
    labels: Tensor | None = None
    texts: Sequence[Ids | None] = ()
    text_keys: Tensor | None = None


@dataclass(frozen=True)
class Shown:
    """How pictures are hidden and seen again to be measured.

    Attributes:
        second: (N, C, H, W), what inputs show elsewhere.
        cells, others, placement: see :class:`ViewTargets`; both views are predicted of the same pictures.
    """

    second: Tensor
    cells: Tensor
    others: Tensor
    placement: Tensor


@dataclass(frozen=True)
class M3IOutputs:
    """What a model makes of whole pictures.

    Attributes:
        features: (N, C), the mean over the backbone's last map.
        scores: (N, num_classes), cosines.
        compared: (N, shared), of length 1.
        errors: (N, 2), of hidden cells and of the other view; None where they were not shown.
        texts: (T, shared), of length 1; None without texts.
    """

    features: Tensor
    scores: Tensor
    compared: Tensor
    errors: Tensor | None = None
    texts: Tensor | None = None


class M3I(Model):
    """Backbone, its moving average, two decoders, and what pictures are compared with."""

    config: M3IConfig
    backbone: Backbone

    class_tensors = ("classes.*",)
    smallest_batch = 2  # one picture has nothing to be mixed with
    all_learn = False  # decoders of views that nobody asks for

    def __init__(self, config: M3IConfig) -> None:
        super().__init__()
        self.config = config
        last = (len(config.backbone.depths) - 1,)
        self.backbone = self.build_backbone(config, last)
        self.averaged = self.build_backbone(config, last)
        self.start_average()
        channels = self.backbone.feature_channels[-1]
        self.cell = self.backbone.feature_strides[-1]
        sizes = (channels, config.width, config.layers, config.heads, config.feed_forward)
        self.intra, self.inter = Decoder(*sizes), Decoder(*sizes)
        self.project = nn.Linear(channels, config.shared)
        start = math.log(1 / config.temperature)
        self.class_scale, self.text_scale = (nn.Parameter(torch.tensor(start)) for _ in range(2))
        self.classes: nn.Embedding | None
        self.texts: TextEncoder | None = None
        self.text_project: nn.Linear | None = None
        self._make_classes()
        if config.texts:
            self._make_texts(Vocabulary(config.vocabulary))
        self.done: Tensor  # share of its last run
        self.register_buffer("done", torch.zeros(()))

    # What a model promises

    def reset_classifier(self, num_classes: int) -> None:
        """Embeddings of so many classes, anew; 0 for none."""
        self.config = replace(self.config, num_classes=num_classes)
        self._make_classes()

    def take_channels(self, channels: int) -> None:
        """Take images of so many channels from now on, the moving average too."""
        if channels != self.config.backbone.in_channels:
            self.averaged.take_channels(channels)
            self.averaged.requires_grad_(False)  # the new convolution too
        super().take_channels(channels)

    def take_words(self, ids: Iterable[int]) -> None:
        """Read texts of these of CLIP's words from now on; a model of all words knows them already."""
        config = replace(self.config, texts=True)
        if self.texts is None:
            known = config.vocabulary
            self._make_texts(Vocabulary(None if known is None else [*known, *ids]))
        elif config.vocabulary is not None:
            self.texts.take_words(ids)
        if config.vocabulary is not None and self.texts is not None:
            config = replace(config, vocabulary=self.texts.vocabulary.ids)
        self.config = config

    def shardable(self) -> list[nn.Module]:
        """Blocks of the backbone and of its average, layers of the transformers."""
        layers = [layer for decoder in (self.intra, self.inter) for layer in decoder.encoder.layers]
        words = [] if self.texts is None else list(self.texts.encoder.layers)
        return [*super().shardable(), *self.averaged.shardable(), *layers, *words]

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        super().set_gradient_checkpointing(enabled)
        encoders = [self.intra.encoder, self.inter.encoder, *([] if self.texts is None else [self.texts.encoder])]
        for encoder in encoders:
            encoder.gradient_checkpointing = enabled

    @torch.no_grad()
    def start_average(self) -> None:
        """Let the moving average begin with the backbone's weights of now."""
        self.averaged.load_state_dict(self.backbone.state_dict())
        self.averaged.requires_grad_(False)

    @torch.no_grad()
    def after_update(self, share: float) -> None:
        """The moving average takes a step; statistics of batch normalisation are its own."""
        past = averaging(self.config.momentum, share)
        own, average = local_tensors(self.backbone), local_tensors(self.averaged)
        names = [name for name, _ in self.averaged.named_parameters()]
        torch._foreach_lerp_([average[name] for name in names], [own[name] for name in names], weight=1 - past)
        self.done.fill_(share)

    # Features

    def forward(self, images: Tensor, shown: Shown | None = None, texts: Sequence[Ids] = ()) -> M3IOutputs:
        """What it makes of pictures (N, C, H, W) and of texts, and how well it predicts what is hidden of them."""
        features = tokens_of(self.backbone(images)[-1]).mean(1)
        compared = F.normalize(self.project(features), dim=-1)
        scores = compared.new_zeros(len(images), 0)
        if self.classes is not None:
            scores = compared @ F.normalize(self.classes.weight, dim=-1).T
        errors = None if shown is None else self._errors(images, shown)
        return M3IOutputs(features, scores, compared, errors, self.encode_texts(texts) if texts else None)

    def encode_texts(self, texts: Sequence[Ids]) -> Tensor:
        """R texts, CLIP's ids with the end token, to features (R, shared) of length 1.

        Raises:
            ConfigError: it has not learnt from texts.
            DataError: it does not know a word, or reads shorter texts.
        """
        if self.texts is None or self.text_project is None:
            raise ConfigError("this model has not learnt from texts; train it on pictures with captions")
        return F.normalize(self.text_project(self.texts(texts)), dim=-1)

    def _errors(self, images: Tensor, shown: Shown) -> Tensor:
        tokens, visible = self._mixed(images, shown.second, shown.cells)
        grid = self._grid(images)
        filled = self.intra.fill(tokens, visible, grid).float()
        own = dense_errors(filled, tokens_of(self.averaged(images)[-1]).float()) * ~visible
        moved = self.inter.transfer(tokens, visible, grid, other_places(shown.placement, *grid)).float()
        other = dense_errors(moved, tokens_of(self.averaged(shown.others)[-1]).float())
        return torch.stack([own.sum(1) / (~visible).sum(1), other.mean(1)], dim=1)

    # Losses

    def losses(self, images: Tensor, targets: ViewTargets) -> dict[str, Tensor]:  # type: ignore[override]
        """The losses that are asked for, by name; each its mean over all processes.

        Args:
            images: (N, C, H, W), views, of two or more pictures; sides are multiples of the cells'.
            targets: see there.
        """
        partners, grid = targets.partners, self._grid(images)
        tokens, visible = self._mixed(images, images[partners], targets.cells)
        found: dict[str, Tensor] = {}
        said: list[Tensor] = []
        views = self._views(images, targets)
        if INTRA in targets.asked:
            filled = self.intra.fill(tokens, visible, grid).float()
            found[INTRA] = dense_loss(filled, views[INTRA], ~visible)
            said.append(visible_mean(filled, ~visible))
        if INTER in targets.asked:
            assert targets.placement is not None
            places = other_places(targets.placement, *grid)[partners]
            moved = self.inter.transfer(tokens, ~visible, grid, places).float()
            found[INTER] = dense_loss(moved, views[INTER][partners])
            said.append(moved.mean(1))
        if SPREAD in targets.asked and said:
            found[SPREAD] = torch.stack([spread_loss(one) for one in said]).mean()
        if {LABELS, TEXTS} & set(targets.asked):
            features = [self.project(visible_mean(tokens, one)).float() for one in (visible, ~visible)]
            own = torch.arange(len(images), device=images.device)
            shown = list(zip(features, (own, partners), strict=True))
            found |= {LABELS: self._label_loss(shown, targets)} if LABELS in targets.asked else {}
            found |= {TEXTS: self._text_loss(shown, targets)} if TEXTS in targets.asked else {}
        return found

    @torch.no_grad()
    def _views(self, images: Tensor, targets: ViewTargets) -> dict[str, Tensor]:
        """The average's tokens of the views that are to be predicted, float32."""
        views = {INTRA: images} if INTRA in targets.asked else {}
        if INTER in targets.asked:
            assert targets.others is not None
            views[INTER] = targets.others
        return {name: tokens_of(self.averaged(one)[-1]).float() for name, one in views.items()}

    def _label_loss(self, shown: Sequence[tuple[Tensor, Tensor]], targets: ViewTargets) -> Tensor:
        """Both pictures of each input choose their classes."""
        assert targets.labels is not None
        assert self.classes is not None
        losses = []
        for features, pictures in shown:
            labels = targets.labels[pictures]
            right, known = labels.clamp(min=0), labels >= 0
            losses.append(choice_loss(features, self.classes.weight.float(), right, self.class_scale.float(), known))
        return torch.stack(losses).mean()

    def _text_loss(self, shown: Sequence[tuple[Tensor, Tensor]], targets: ViewTargets) -> Tensor:
        """Both choose their texts, of those of all processes; equal texts of others count neither way."""
        assert targets.text_keys is not None
        known = torch.tensor([one is not None for one in targets.texts], device=targets.text_keys.device)
        given = self.encode_texts([(END,) if one is None else one for one in targets.texts])  # alike on all processes
        texts, keys, there = gathered(given.float()), gathered(targets.text_keys), gathered(known.to(torch.uint8))
        first = place_among_processes()[0] * len(given)
        losses = []
        for features, pictures in shown:
            refused = (targets.text_keys[pictures][:, None] == keys) | (there == 0)
            right, counted = first + pictures, known[pictures]
            losses.append(choice_loss(features, texts, right, self.text_scale.float(), counted, refused))
        return torch.stack(losses).mean()

    def _mixed(self, images: Tensor, second: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (N, L, C) of mixed pictures, and which are the first one's, (N, L)."""
        return tokens_of(self.backbone(mix(images, second, cells, self.cell))[-1]), cells.flatten(1)

    def _grid(self, images: Tensor) -> tuple[int, int]:
        height, width = images.shape[-2:]
        if height % self.cell or width % self.cell or height * width < 2 * self.cell**2:
            raise InputSizeError(
                f"views are {height}x{width}; expected sides that are multiples of {self.cell}, the cells in which "
                "pictures are mixed, and two cells or more"
            )
        return height // self.cell, width // self.cell

    def _make_classes(self) -> None:
        count, own = self.config.num_classes, self.project.weight
        self.classes = nn.Embedding(count, self.config.shared).to(own) if count else None
        if self.classes is not None:
            nn.init.normal_(self.classes.weight, std=START_STD)

    def _make_texts(self, vocabulary: Vocabulary) -> None:
        config, own = self.config, self.project.weight
        width = config.text_width
        texts = TextEncoder(
            vocabulary, width, config.text_layers, config.text_heads, _FEED_FORWARD * width, config.longest
        )
        self.texts, self.text_project = texts.to(own), nn.Linear(width, config.shared).to(own)
