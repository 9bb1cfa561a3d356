"""Uni-Perceiver v2 (Li et al., CVPR 2023, https://arxiv.org/abs/2211.09808) on InternImage.

A picture becomes tokens of the whole and of regions that may be objects, a text the features of a text tower, and one
decoder with conditional experts reads both.  Classes, objects, captions, searches and answers are all one question:
which target's feature points the same way.  Neither code nor weights were ever released; what the paper does not say
is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.errors import DataError
from internimage.images import Preprocessing
from internimage.layers.boxes import clip, cxcywh_to_xyxy
from internimage.layers.queries.masks import masks_in_boxes
from internimage.layers.queries.two_stage import valid_pixels
from internimage.models.mask_dino import MaskDINO, Proposals
from internimage.multimodal.models.v2_config import UniPerceiverV2Config
from internimage.multimodal.models.words import WordModel
from internimage.multimodal.sequences.embeddings import START_STD
from internimage.multimodal.sequences.encoder import Encoder
from internimage.multimodal.sequences.kinds import DETECTION, OBJECT_NAME
from internimage.multimodal.sequences.likelihood import TASKS, Likelihood
from internimage.multimodal.sequences.regions import GlobalTokens, RegionTokens
from internimage.multimodal.sequences.targets import NamedObjects, WordTargets
from internimage.multimodal.words.towers import TowerText, TowerTokenizer, special_tokens
from internimage.multimodal.words.vocabulary import Ids, Vocabulary
from internimage.structures.detection import RawDetections
from internimage.text.clip import ClipTokenizer
from internimage.text.tower import TextTower


@dataclass(frozen=True)
class Regions:
    """The proposals of pictures, with what the decoder makes of them.

    Attributes:
        boxes: (N, K, 4) cxcywh, relative to the picture without its padding.
        objectness: (N, K) logits.
        masks: (N, K, H / 4, W / 4) logits over the padded pictures.
        features: (N, K, d) of length 1, to be compared with those of names.
    """

    boxes: Tensor
    objectness: Tensor
    masks: Tensor
    features: Tensor


class UniPerceiverV2(WordModel):
    """See :class:`WordModel`; objects with boxes and masks too.

    Texts are ids of ``tokenizer``: CLIP's pieces of words, or those of a trained text tower.
    """

    config: UniPerceiverV2Config
    gathers = True

    def __init__(self, config: UniPerceiverV2Config, tower: TextTower | None = None) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary(config.vocabulary, special_tokens(config.text))
        self.proposer = MaskDINO(config.mask_dino)
        self.backbone = self.proposer.give_backbone()
        channels, width = config.proposals.channels, config.width
        seen = self.backbone.feature_channels[config.cells]
        self.whole = GlobalTokens(seen, width, config.heads, config.pooled, config.span)
        self.regions = RegionTokens(channels, width)
        self.text = TowerText(config.text, self.vocabulary, width, tower)
        self.spe = nn.Parameter(torch.randn(width) * START_STD)
        self.encoder = Encoder(
            config.layers,
            width,
            config.heads,
            config.feed_forward,
            config.experts,
            config.layer_scale,
            feed_forward_alone=True,
        )
        self.likelihood = Likelihood(width, tasks=(*TASKS, "objects"))

    @property
    def tokenizer(self) -> Any:
        trained = self.config.text.trained
        return ClipTokenizer() if trained is None else TowerTokenizer(trained)

    # What a model promises

    def take_words(self, ids: Iterable[int]) -> None:
        """Know these words too, from now on; those of a tower that starts anew start anew."""
        self.vocabulary = self.vocabulary.with_more(ids)
        self.text.know(self.vocabulary)
        if self.config.vocabulary is not None:
            self.config = replace(self.config, vocabulary=self.vocabulary.ids)

    def take_tower(self, tower: TextTower) -> None:
        """Read with a trained tower from now on, and know none of its words yet but those that end and stand for one.

        Raises:
            ConfigError: captions cannot be learnt with it.
        """
        tower.check_captions()
        text = replace(self.config.text, trained=tower.description(), longest=tower.longest)
        self.config = replace(self.config, text=text, vocabulary=())
        self.vocabulary = Vocabulary((), special_tokens(text))
        self.text = TowerText(text, self.vocabulary, self.config.width, tower).to(self.spe.device)

    def shardable(self) -> list[nn.Module]:
        """Blocks of the backbone, layers of the proposals' transformers and of the decoder."""
        return [*super().shardable(), *self.proposer.encoder.layers, *self.proposer.layers]

    def for_words(self) -> Self:
        """The same network and tensors, with the square pictures that are described, searched and classified."""
        assert self.description is not None
        seen = self.description.preprocessing
        assert seen is not None
        twin = copy(self)
        square = Preprocessing(self.config.side, self.config.side, depth=seen.depth).of_channels(seen.channels)
        twin.description = replace(self.description, preprocessing=square)
        return twin

    # What it makes of pictures and words

    def front(self, count: int) -> Tensor:
        return self.spe.expand(count, 1, -1)

    def picture_tokens(self, images: Tensor) -> Tensor:
        """Square images (N, C, H, W), all of one size, to tokens (N, pooled + cells of a map + kept, d)."""
        maps, (height, width) = self.backbone(images), images.shape[2:]
        proposals = self.proposer.proposals_on(maps, [(height, width)] * len(images), (height, width))
        chosen = proposals.chosen(proposals.best(self.config.proposals.kept))
        return self._tokens(maps[self.config.cells], chosen)

    def text_tokens(self, rows: Tensor, present: Tensor) -> Tensor:
        self._check_length(rows.shape[1])
        return self.text.texts(rows, present)

    def caption_tokens(self, rows: Tensor, present: Tensor) -> Tensor:
        self._check_length(rows.shape[1])
        return self.text.captions(rows, present)

    def next_tokens(self, written: Tensor) -> Tensor:
        return self.text.following(written)

    def regions_of(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> Regions:
        """What may be objects in images (N, C, H, W) of these ``sizes`` without their padding."""
        maps, extent = self.backbone(images), images.shape[2:]
        proposals = self.proposer.proposals_on(maps, sizes, extent)
        chosen = proposals.chosen(proposals.best(self.config.proposals.kept))
        return self._regions(maps[self.config.cells], chosen, sizes, extent)

    def object_names(self, names: Sequence[Ids]) -> Tensor:
        """Features (K, d) of names of objects."""
        return self.encode_texts(names, OBJECT_NAME)

    def found(
        self,
        regions: Regions,
        names: Tensor,
        sizes: Sequence[tuple[int, int]],
        scales: Tensor,
        extent: Sequence[int],
        keep: int,
    ) -> list[RawDetections]:
        """The likeliest objects of each image, see :meth:`internimage.models.mask_rcnn.MaskRCNN.forward`.

        The score of a region and a name is the region's objectness times the share of the name among all of them.

        Args:
            regions: see :meth:`regions_of`.
            names: see :meth:`object_names`.
            sizes, scales, extent: of the images.
            keep: most objects of an image.
        """
        height, width = extent
        results = []
        for image, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
            shares = self.likelihood.logits("objects", regions.features[image], names).float().softmax(1)
            scores = (regions.objectness[image].float().sigmoid()[:, None] * shares).flatten()
            best, places = scores.topk(min(keep, len(scores)))
            region, label = places // len(names), places % len(names)
            own = torch.tensor([size[1], size[0], size[1], size[0]], device=scale.device)
            boxes = clip(cxcywh_to_xyxy(regions.boxes[image, region]) * own, size)
            whole = torch.tensor([width, height, width, height], device=scale.device)
            masks = masks_in_boxes(
                regions.masks[image, region].float(), boxes / whole, self.proposer.config.mask_size
            ).sigmoid()
            results.append(RawDetections(boxes / scale, best, label, masks))
        return results

    # Losses

    def losses(  # type: ignore[override]
        self, images: Tensor, targets: WordTargets | NamedObjects
    ) -> dict[str, Tensor]:
        """See :meth:`WordModel.losses`; of objects those of proposals with masks, and "objects", of their names."""
        if isinstance(targets, WordTargets):
            return super().losses(images, targets)
        maps, extent = self.backbone(images), images.shape[2:]
        bare = [replace(one, labels=torch.zeros_like(one.labels)) for one in targets.truth]
        learnt = self.proposer.learn_on(maps, targets.sizes, extent, bare)
        chosen = learnt.proposals.best(self.config.proposals.kept, learnt.objects >= 0)
        regions = self._regions(maps[self.config.cells], learnt.proposals.chosen(chosen), targets.sizes, extent)
        objects = learnt.objects.gather(1, chosen)
        labels = torch.cat([one.labels for one in targets.truth])[objects[objects >= 0]]
        names = self.object_names(targets.names)
        logits = self.likelihood.logits("objects", regions.features[objects >= 0], names)
        named = F.cross_entropy(logits, labels) if len(labels) else logits.sum() + names.sum() * 0.0
        return {**learnt.losses, "objects": named}

    # Sequences

    def _tokens(self, seen: Tensor, chosen: Proposals, present: Tensor | None = None) -> Tensor:
        """Tokens of the whole, then of the chosen proposals."""
        assert chosen.masks is not None
        regions = self.regions(chosen.queries, chosen.boxes, chosen.masks)
        return torch.cat([self.whole(seen, present), regions], dim=1)

    def _regions(
        self, seen: Tensor, chosen: Proposals, sizes: Sequence[tuple[int, int]], extent: Sequence[int]
    ) -> Regions:
        rows, columns = valid_pixels(sizes, extent, [seen])[0]
        cells = (rows[:, :, None] & columns[:, None]).flatten(1)
        tokens, count = self._tokens(seen, chosen, cells), chosen.boxes.shape[1]
        present = F.pad(cells, (self.config.pooled, count), value=True)
        outputs = self.picture_states(tokens, DETECTION, present).outputs[:, -count:]
        assert chosen.masks is not None
        return Regions(chosen.boxes, chosen.objectness, chosen.masks, self.likelihood.features(outputs))

    def _check_length(self, length: int) -> None:
        if length > self.config.longest:
            raise DataError(f"a text has {length} tokens; this model reads {self.config.longest} or fewer, cut it")
