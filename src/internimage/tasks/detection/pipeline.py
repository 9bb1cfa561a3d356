"""From pictures to objects: what predictor, trainer and ``evaluate`` run alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from internimage.errors import ConfigError
from internimage.images import FitPreprocessing, ImageSource
from internimage.inference.blame import finite
from internimage.inference.views import MakeViews, Views, preparation
from internimage.labels import class_names
from internimage.layers.suppression import fuse, joined, suppress
from internimage.results.detections import Detections
from internimage.settings.views import Merge, PredictionOptions
from internimage.structures.batching import padded
from internimage.structures.detection import DetectionConfig, RawDetections
from internimage.tasks.detection.batch import Batch, stack


class DetectionPipeline:
    """See :class:`internimage.contracts.Pipeline`.

    Args:
        model: a detector of ours, with its description.
        options: with test-time augmentation, objects are merged within each class; ``tiles`` are another's, see
            :class:`internimage.inference.tiles.TiledPipeline`.
    """

    def __init__(self, model: Any, options: PredictionOptions = PredictionOptions()) -> None:  # noqa: B008
        if options.keep_scores or options.window != "model":
            raise ConfigError("window and keep_scores are for segmenters; leave them out")
        preprocessing = preparation(model, options, FitPreprocessing)
        model = model if options.max_objects is None else model.keeping(options.max_objects)
        self.model = model.with_soft_nms() if options.soft_nms else model
        self.max_objects: int = self.model.config.detections.keep
        self.labels: tuple[str, ...] | None = model.description.labels
        self.classes: int = model.config.num_classes
        self.has_masks: bool = model.has_masks
        self.flip = options.augmentation is not None and options.augmentation.flip
        self.merge: Merge = "nms" if options.augmentation is None else options.augmentation.merge
        self.read = preprocessing.read
        self.prepare = MakeViews(preprocessing, options.augmentation)

    def predict(
        self, prepared: Sequence[Views], sources: Sequence[ImageSource], known: Sequence[Any]
    ) -> list[Detections]:
        names = class_names(self.labels, self.classes)
        rounds: list[list[RawDetections]] = []
        for images in zip(*(one.images for one in prepared), strict=True):
            batch = stack(images, [one.original for one in prepared], sources)
            rounds.append(detect(self.model, batch))
            if self.flip:
                mirrored = stack([image.flip(2) for image in images], batch.originals, sources)
                widths = [width for _, width in batch.originals]
                found = zip(detect(self.model, mirrored), widths, strict=True)
                rounds.append([_mirror(one, width) for one, width in found])
        config = self.model.config.detections
        merged = [merge(one, config, self.merge) if len(one) > 1 else one[0] for one in zip(*rounds, strict=True)]
        return decode(merged, batch, names)


@torch.inference_mode()
def detect(model: Any, batch: Batch) -> list[RawDetections]:
    """The objects of each image, in pixels of the original, on the model's device and in its dtype.

    Networks see padding as black pixels, up to an image's edge.  So that neighbours in a batch change nothing, each
    image keeps the padding that it would have alone, as in the released evaluation; equal sizes run together.
    """
    weight = next(model.parameters())
    moved, scales = batch.to(weight.device, weight.dtype), batch.scales.to(weight.device)
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, (height, width) in enumerate(batch.sizes):
        groups[padded(height), padded(width)].append(index)
    found: dict[int, RawDetections] = {}
    for (height, width), indices in groups.items():
        images = moved.images[indices, :, :height, :width]
        run = partial(model, images, [batch.sizes[i] for i in indices], scales[indices])
        found |= zip(indices, finite(model, run), strict=True)
    return [found[index] for index in range(len(batch.sizes))]


def decode(found: Sequence[RawDetections], batch: Batch, labels: tuple[str, ...]) -> list[Detections]:
    """Results of each image, given the names of all classes."""
    results = []
    for one, original, source in zip(found, batch.originals, batch.sources, strict=True):
        boxes, scores = (tensor.detach().float().cpu().numpy() for tensor in (one.boxes, one.scores))
        masks = None if one.masks is None else one.masks.detach().float().cpu().numpy()
        results.append(Detections(boxes, scores, one.labels.cpu().numpy(), labels, original, source, masks))
    return results


def merge(found: Sequence[RawDetections], config: DetectionConfig, how: Merge = "nms") -> RawDetections:
    """The objects of several views of one picture made one, with their masks; at most as many as of one view."""
    if how == "wbf":
        return fuse(found, config.keep)
    return suppress(joined(found), replace(config, suppression=how))


def _mirror(found: RawDetections, width: int) -> RawDetections:
    left, top, right, bottom = found.boxes.unbind(1)
    boxes = torch.stack([width - right, top, width - left, bottom], dim=1)
    return replace(found, boxes=boxes, masks=None if found.masks is None else found.masks.flip(2))
