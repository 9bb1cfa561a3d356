"""From pictures to a class for every pixel: what predictor, trainer and ``evaluate`` run alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from internimage.images import FitPreprocessing, ImageSource
from internimage.inference.views import MakeViews, Views, preparation
from internimage.labels import class_names
from internimage.results.segmentation import Segmentation
from internimage.settings.views import PredictionOptions, Window, refuse_for_detectors
from internimage.tasks.segmentation.views import View, decode, predict_views


class SegmentationPipeline:
    """See :class:`internimage.contracts.Pipeline`.

    Args:
        model: a segmenter of ours, with its description.
        options: probabilities of several views of each picture are averaged.
        in_step: see :func:`predict_views`.
    """

    def __init__(
        self,
        model: Any,
        options: PredictionOptions = PredictionOptions(),  # noqa: B008
        *,
        in_step: bool = False,
    ) -> None:
        preprocessing = preparation(model, options, FitPreprocessing)
        refuse_for_detectors(options, "a segmenter sees large pictures in sliding windows of its own (window)")
        self.model = model
        self.labels: tuple[str, ...] | None = model.description.labels
        self.palette = model.description.palette
        self.classes: int = model.config.num_classes
        self.window: Window | None = model.config.window if options.window == "model" else options.window
        self.keep_scores = options.keep_scores
        self.flip = options.augmentation is not None and options.augmentation.flip
        self.in_step = in_step
        self.read = preprocessing.read
        self.prepare = MakeViews(preprocessing, options.augmentation)

    def predict(
        self, prepared: Sequence[Views], sources: Sequence[ImageSource], known: Sequence[Any]
    ) -> Iterator[Segmentation]:
        names = class_names(self.labels, self.classes)
        rounds: list[list[View]] = []
        for images in zip(*(one.images for one in prepared), strict=True):
            for mirrored in (False, True) if self.flip else (False,):
                rounds.append(predict_views(self.model, images, self.window, mirrored=mirrored, in_step=self.in_step))
        for picture, source, views in zip(prepared, sources, zip(*rounds, strict=True), strict=True):
            yield decode(views, picture.original, source, names, self.palette, keep_scores=self.keep_scores)
