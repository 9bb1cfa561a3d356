"""What a model sees of a picture: one view of it, or several, whose results are merged (test-time augmentation)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from PIL import Image
from torch import Tensor

from internimage.errors import ConfigError
from internimage.images import FitPreprocessing, ImageSource
from internimage.layers.boxes import suppress
from internimage.layers.detection import DetectionConfig, RawDetections
from internimage.layers.segmentation import Window
from internimage.models.cascade_rcnn import CascadeRCNN
from internimage.models.dino import DINO
from internimage.models.mask2former import Mask2Former
from internimage.models.mask_rcnn import MaskRCNN
from internimage.models.segformer import SegFormer
from internimage.models.upernet import UperNet
from internimage.tasks import detection, segmentation

Detector: TypeAlias = MaskRCNN | CascadeRCNN | DINO
Segmenter: TypeAlias = UperNet | SegFormer | Mask2Former


@dataclass(frozen=True)
class TestTimeAugmentation:
    """Several views of each picture for a detector or segmenter.

    Attributes:
        short_sides: a view for each, of which the shorter side has so many pixels; the longer one stays within the
            proportions of the model's preprocessing.  Empty: the model's own.
        flip: each view also mirrored.
    """

    __test__ = False  # not a test

    short_sides: tuple[int, ...] = ()
    flip: bool = True

    def __post_init__(self) -> None:
        if any(side < 1 for side in self.short_sides):
            raise ConfigError(f"short sides are {self.short_sides}; expected at least 1 pixel")


@dataclass(frozen=True)
class Views:
    """A picture as a model sees it: images (3, H_i, W_i), and the (height, width) of the original."""

    images: tuple[Tensor, ...]
    original: tuple[int, int]


class MakeViews:
    """From a picture (RGB) to its :class:`Views`."""

    def __init__(self, preprocessing: FitPreprocessing, augmentation: TestTimeAugmentation | None) -> None:
        sides = (augmentation.short_sides if augmentation else ()) or (preprocessing.short,)
        ratio = preprocessing.long / preprocessing.short
        self.preparations = [replace(preprocessing, short=side, long=round(side * ratio)) for side in sides]

    def __call__(self, image: Image.Image) -> Views:
        return Views(tuple(prepare(image) for prepare in self.preparations), (image.height, image.width))


def detect_views(
    model: Detector,
    views: Sequence[Views],
    sources: Sequence[ImageSource],
    labels: tuple[str, ...],
    *,
    flip: bool,
) -> list[detection.Detections]:
    """Objects of each picture; what several views find is merged by suppression within each class."""
    rounds: list[list[RawDetections]] = []
    for images in zip(*(one.images for one in views), strict=True):
        batch = detection.stack(images, [one.original for one in views], sources)
        rounds.append(detection.detect(model, batch))
        if flip:
            mirrored = detection.stack([image.flip(2) for image in images], batch.originals, sources)
            found = detection.detect(model, mirrored)
            widths = [width for _, width in batch.originals]
            rounds.append([_mirror(one, width) for one, width in zip(found, widths, strict=True)])
    merged = [merge(one, model.config.detections) if len(one) > 1 else one[0] for one in zip(*rounds, strict=True)]
    return detection.decode(merged, batch, labels)


def segment_views(
    model: Segmenter,
    views: Sequence[Views],
    sources: Sequence[ImageSource],
    labels: tuple[str, ...],
    palette: tuple[tuple[int, int, int], ...] | None,
    *,
    flip: bool,
    window: Window | None,
    keep_scores: bool,
) -> Iterator[segmentation.Segmentation]:
    """The classes of each picture's pixels; probabilities of several views are averaged."""
    rounds: list[list[segmentation.View]] = []
    for images in zip(*(one.images for one in views), strict=True):
        for mirrored in (False, True) if flip else (False,):
            rounds.append(segmentation.look(model, images, window, mirrored=mirrored))
    for picture, source, seen in zip(views, sources, zip(*rounds, strict=True), strict=True):
        yield segmentation.decode(seen, picture.original, source, labels, palette, keep_scores=keep_scores)


def merge(found: Sequence[RawDetections], config: DetectionConfig) -> RawDetections:
    """The best boxes of several views of one picture, each with its mask."""
    boxes, scores, labels = (torch.cat([getattr(one, name) for one in found]) for name in ("boxes", "scores", "labels"))
    kept = suppress(boxes, scores, labels, config.nms_threshold)[: config.keep]
    masks = [one.masks for one in found if one.masks is not None]
    return RawDetections(boxes[kept], scores[kept], labels[kept], torch.cat(masks)[kept] if masks else None)


def _mirror(found: RawDetections, width: int) -> RawDetections:
    left, top, right, bottom = found.boxes.unbind(1)
    boxes = torch.stack([width - right, top, width - left, bottom], dim=1)
    return replace(found, boxes=boxes, masks=None if found.masks is None else found.masks.flip(2))
