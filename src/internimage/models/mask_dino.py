"""Mask DINO (Li et al., CVPR 2023, https://arxiv.org/abs/2206.02777) on InternImage: DINO with masks.

What differs from the paper is DINO's as we have it: each layer has a classifier and a box regressor of its own, where
the paper shares one among all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from internimage.backbones.composite import Backbone
from internimage.errors import ConfigError, DataError
from internimage.layers.boxes import xyxy_to_cxcywh
from internimage.layers.queries import points as sampling
from internimage.layers.queries.denoising import NoisyObjects
from internimage.layers.queries.hungarian import match_images
from internimage.layers.queries.losses import learnt_objects, mask_losses, mean_over_processes
from internimage.layers.queries.masks import PixelMap, mask_boxes, mask_costs, masks_in_boxes
from internimage.layers.queries.pixels import Encoder, Pixels
from internimage.layers.queries.refinement import mlp
from internimage.layers.queries.two_stage import take, valid_pixels
from internimage.models.dino import DINO, DINOConfig, Found, Truth, named
from internimage.structures.detection import DetectionConfig, DetectionTarget, RawDetections

_CLASS_WEIGHT, _PIXEL_WEIGHT, _DICE_WEIGHT = 4.0, 5.0, 5.0  # of losses, and that of classes in matching


@dataclass(frozen=True)
class MaskDINOConfig(DINOConfig):
    """Architecture of a Mask DINO; see :class:`DINOConfig`.

    Attributes:
        width: of the two linear layers in the decoder's layers.
        encoder_width: the same of the encoder's.
        mask_width: of the map that masks are read from; None for boxes alone.
        mask_points: points of a mask that are compared in training; no more than its pixels.
        mask_size: sides of an object's mask within its box, in results.
        boxes_of_masks: whether queries start with the boxes of the masks that their pixels propose, instead of the
            boxes that these propose.
    """

    queries: int = 300
    decoder_layers: int = 9
    detections: DetectionConfig = field(default_factory=lambda: DetectionConfig(0.0, 0.7, 100))
    encoder_width: int = 1024
    mask_width: int | None = 256
    mask_points: int = sampling.POINTS
    mask_size: int = 112
    boxes_of_masks: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("encoder_width", "mask_width", "mask_points", "mask_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; expected 1 or more")
        if self.encoder_width % self.parts:
            raise ConfigError(f"encoder_width {self.encoder_width} does not divide into {self.parts} parts")


@dataclass(frozen=True)
class Proposals:
    """What the queries say after the last layer, for those who go on with it.

    Attributes:
        queries: (N, Q, C), normed.
        boxes: (N, Q, 4) cxcywh, float32, relative to the image without its padding.
        logits: (N, Q, K) of classes, whose focal loss they were trained with: sigmoids are probabilities.
        masks: (N, Q, H / 4, W / 4) logits over the padded images; None of a model without masks.
    """

    queries: Tensor
    boxes: Tensor
    logits: Tensor
    masks: Tensor | None

    @property
    def objectness(self) -> Tensor:
        """(N, Q), the logit of the likeliest class."""
        return self.logits.amax(-1)

    def chosen(self, which: Tensor) -> Proposals:
        """What the queries ``which`` (N, K) say."""
        masks = self.masks
        if masks is not None:
            masks = masks.gather(1, which[..., None, None].expand(-1, -1, *masks.shape[2:]))
        queries, boxes, logits = (take(which, one) for one in (self.queries, self.boxes, self.logits))
        return Proposals(queries, boxes, logits, masks)

    def best(self, count: int, always: Tensor | None = None) -> Tensor:
        """Indices (N, min(count, Q)) of the queries that are most likely objects, best first.

        ``always`` (N, Q) bool says which come before all others.
        """
        scores = self.objectness.detach().float()
        if always is not None:
            scores = scores.masked_fill(always, torch.inf)
        return scores.topk(min(count, scores.shape[1])).indices


@dataclass(frozen=True)
class Learnt:
    """What a Mask DINO learns from a batch, and what it proposes meanwhile.

    Attributes:
        losses: by names, to be added up.
        proposals: of the last layer; their gradients go on.
        objects: (N, Q) int64, the object that a query learns in the last layer, as a number among all objects of all
            images of the batch in their order; -1 for none.
    """

    losses: dict[str, Tensor]
    proposals: Proposals
    objects: Tensor


class MaskDINO(DINO):
    """Images (N, 3, H, W), RGB, normalised and padded at the right and bottom, to objects with masks.

    Queries start as the features of the pixels that propose them.  With one class it finds objects of any kind.
    """

    levels: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)
    learns_content = False
    config: MaskDINOConfig

    def __init__(self, config: MaskDINOConfig) -> None:
        super().__init__(config)
        channels, width = config.channels, config.mask_width
        finest = self.backbone.feature_channels[0]
        self.pixel_map = None if width is None else PixelMap(finest, channels, width)
        self.mask_embedding = None if width is None else mlp(channels, channels, channels, width)

    def _build_encoder(self) -> Encoder:
        config = self.config
        return Encoder(config.channels, config.heads, config.encoder_layers, config.encoder_width, config.parts)

    def give_backbone(self) -> Backbone:
        """The backbone, which is somebody else's from now on: maps are given then (:meth:`learn_on`)."""
        backbone = self.backbone
        self.backbone = None  # type: ignore[assignment]
        return backbone

    @property
    def has_masks(self) -> bool:
        return self.pixel_map is not None

    def remove_masks(self) -> None:
        """Go on with boxes alone."""
        self.pixel_map = self.mask_embedding = None
        self.config = replace(self.config, mask_width=None)

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]], scales: Tensor) -> list[RawDetections]:
        """The objects of each image; see :meth:`MaskRCNN.forward`.

        A mask is what of it lies in the object's box.
        """
        last, fine = self._predict(self.backbone(images), sizes, images.shape[2:])
        results = []
        for image, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
            found, query = self._best(last.logits[image], last.boxes[image], size, scale)
            if fine is not None:
                masks = masks_of(self._embedded(last.queries[image, query]), fine[image])
                height, width = images.shape[2:]
                extent = torch.tensor([width, height, width, height], device=scale.device)  # also in exported graphs
                soft = masks_in_boxes(masks.float(), found.boxes * scale / extent, self.config.mask_size).sigmoid()
                found = replace(found, masks=soft)
            results.append(found)
        return results

    def proposals_on(
        self, maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]], extent: Sequence[int]
    ) -> Proposals:
        """What all queries say of images, from the four maps of the backbone; gradients go on.

        ``sizes`` are those of the images in a batch of ``extent``, (height, width) each.
        """
        return self._proposals(*self._predict(maps, sizes, extent))

    def learn_on(
        self,
        maps: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        extent: Sequence[int],
        targets: Sequence[DetectionTarget],
    ) -> Learnt:
        """Losses, proposals, and which query learns which object, from the four maps of the backbone.

        Each of proposals, layers, and noisy objects in each layer has losses of class, box and overlap, and with masks
        of pixels and dice.  ``sizes`` are those of the images in a batch of ``extent``; ``targets`` are in its pixels,
        with masks as large as it is if the model has any.

        Raises:
            DataError: the model has masks, the targets have not.
        """
        losses, found, objects, fine = self._learn(maps, sizes, extent, targets)
        return Learnt(losses, self._proposals(Found(*(one[-1] for one in found)), fine), objects[-1])

    def losses_on(
        self,
        maps: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        extent: Sequence[int],
        targets: Sequence[DetectionTarget],
    ) -> dict[str, Tensor]:
        return self._learn(maps, sizes, extent, targets)[0]

    def _learn(
        self,
        maps: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        extent: Sequence[int],
        targets: Sequence[DetectionTarget],
    ) -> tuple[dict[str, Tensor], Found, Tensor, Tensor | None]:
        """Losses; what is found by the pixels and after each layer; which object is learnt there; the masks' map."""
        pixels = self.encode(maps, sizes, extent)
        fine, proposals = self.mask_map(maps, pixels), self.propose(pixels)
        truth = Truth.of(targets, sizes, proposals.boxes)
        noise = self._noise(truth, proposals.boxes.shape[1])
        start = self.start_boxes(proposals, fine, sizes, extent)
        layers = self.decode_all(pixels, start, noise, proposals.queries.detach())
        found, denoised = self._joined(proposals._replace(queries=self.norm(proposals.queries)), layers)
        masked = None if fine is None else _Masked(fine, _bitmaps(targets), self.config.mask_points)
        costs = None
        if masked is not None:
            costs = masked.costs(self._embedded(found.queries.detach()), [len(one) for one in truth.labels])
        matched = match_images(
            found.logits, found.boxes, truth.labels, truth.boxes, truth.extents, costs, _CLASS_WEIGHT
        )
        losses = self._set_losses(found, denoised, matched, noise, truth)
        losses = {name: loss * _CLASS_WEIGHT if name.endswith("class") else loss for name, loss in losses.items()}
        if masked is not None:
            own = masked.losses(self._embedded(found.queries), matched)
            of_noise = masked.noisy_losses(self._embedded(denoised.queries), noise)
            losses |= named(("pixels", "dice"), own, of_noise)
        return losses, found, matched, fine

    def _predict(
        self, maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]], extent: Sequence[int]
    ) -> tuple[Found, Tensor | None]:
        """What the last layer finds, and the map that masks are read from."""
        pixels = self.encode(maps, sizes, extent)
        fine, proposals = self.mask_map(maps, pixels), self.propose(pixels)
        start = self.start_boxes(proposals, fine, sizes, extent)
        return self.decode(pixels, start, proposals.queries.detach()), fine

    def mask_map(self, maps: Sequence[Tensor], pixels: Pixels) -> Tensor | None:
        """The map (N, mask_width, H / 4, W / 4) whose products with queries are masks; None without masks."""
        if self.pixel_map is None:
            return None
        fine: Tensor = self.pixel_map(maps[0], pixels.finest)
        return fine

    def _embedded(self, queries: Tensor) -> Tensor:
        """What of normed queries (..., C) the map's pixels are multiplied with: (..., mask_width)."""
        assert self.mask_embedding is not None
        embedded: Tensor = self.mask_embedding(queries)
        return embedded

    def _proposals(self, found: Found, fine: Tensor | None) -> Proposals:
        masks = None if fine is None else masks_of(self._embedded(found.queries), fine)
        return Proposals(found.queries, found.boxes, found.logits, masks)

    @torch.no_grad()
    def start_boxes(
        self, proposals: Found, fine: Tensor | None, sizes: Sequence[tuple[int, int]], extent: Sequence[int]
    ) -> Tensor:
        """Boxes (N, Q, 4) that the queries begin with: around the masks that the pixels propose, where these show any
        of the image, else those that they propose themselves (section 3.3, "mask-enhanced anchor box initialization").
        """
        if fine is None or not self.config.boxes_of_masks:
            return proposals.boxes.detach()
        rows, columns = valid_pixels(sizes, extent, [fine])[0]
        masks = masks_of(self._embedded(self.norm(proposals.queries)), fine)
        around = mask_boxes((masks > 0) & rows[:, None, :, None] & columns[:, None, None])
        height, width = (whole // part for whole, part in zip(extent, fine.shape[2:], strict=True))
        pixel = torch.tensor([width, height, width, height], device=fine.device)
        extents = torch.tensor([(width, height, width, height) for height, width in sizes], device=fine.device)
        boxes = (around * (pixel / extents)[:, None]).clamp(max=1)
        return torch.where(around[..., 2:].amax(-1, keepdim=True) > 0, xyxy_to_cxcywh(boxes), proposals.boxes)


def masks_of(embedded: Tensor, fine: Tensor) -> Tensor:
    """Logits of masks (..., Q, H, W): products of queries (..., Q, C) and the pixels of a map (..., C, H, W)."""
    return (embedded @ fine.flatten(-2)).unflatten(-1, fine.shape[-2:])


def _bitmaps(targets: Sequence[DetectionTarget]) -> Tensor:
    masks = [truth.masks for truth in targets if truth.masks is not None]
    if len(masks) < len(targets):
        raise DataError(
            f"{len(targets) - len(masks)} of {len(targets)} images have no masks to learn from; let the model go on "
            "with boxes alone (remove_masks), or leave these images out"
        )
    return torch.cat(masks)


class _Masked:
    """The masks that a batch has, and what those of queries cost beside them.

    Args:
        fine: (N, C, H, W), the map that masks are read from.
        bitmaps: (G, H', W') bool of all objects of all images.
        points: of a mask that are compared.
    """

    def __init__(self, fine: Tensor, bitmaps: Tensor, points: int) -> None:
        self.fine, self.bitmaps = fine, bitmaps
        self.points = min(points, fine[0, 0].numel())  # more say nothing more, and most masks are of noisy objects

    @torch.no_grad()
    def costs(self, embedded: Tensor, counts: Sequence[int]) -> list[Tensor]:
        """Of each image (L, Q, G_i), from queries (L, N, Q, C); all are compared in the same points.

        The map is sampled in place of the masks: that is the same, and less by far.
        """
        places = sampling.random_points((1, self.points), self.fine.device)
        sampled, embedded = sampling.sample_maps(self.fine.float(), places[0]), embedded.float()
        numbers = torch.arange(len(self.bitmaps), device=places.device)
        wanted = sampling.sample_bitmaps(self.bitmaps, numbers, places.expand(len(numbers), -1, -1)).split(list(counts))
        return [
            torch.stack([mask_costs(one @ values, true) for one in embedded[:, image]])
            for image, (values, true) in enumerate(zip(sampled, wanted, strict=True))
        ]

    def losses(self, embedded: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
        """Pixel and dice losses, (L,) each, of the queries (L, N, Q, C) that learn ``objects`` (L, N, Q)."""
        count, pairs = learnt_objects(objects), []
        for layer, learnt in zip(embedded, objects, strict=True):
            masks = [masks_of(one[each >= 0], fine) for one, each, fine in zip(layer, learnt, self.fine, strict=True)]
            which = learnt[learnt >= 0]
            pairs.append(mask_losses(torch.cat(masks).float(), self.bitmaps, which, count, self.points))
        pixels, dice = (torch.stack(one) for one in zip(*pairs, strict=True))
        return _PIXEL_WEIGHT * pixels, _DICE_WEIGHT * dice

    def noisy_losses(self, embedded: Tensor, noise: NoisyObjects | None) -> tuple[Tensor, Tensor]:
        """:meth:`losses` of noisy objects; zeros where there are none."""
        if noise is None:
            zeros = embedded.new_zeros(len(embedded), dtype=torch.float32)
            mean_over_processes(zeros.new_zeros(()))  # as other processes, which may have some
            return zeros, zeros
        return self.losses(embedded, noise.objects.expand(len(embedded), -1, -1))
