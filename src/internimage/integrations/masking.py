"""Masks for a detector's boxes, behind its own pipeline: what predicts, evaluates and writes sees no difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from internimage.contracts import Pipeline
from internimage.errors import ConfigError
from internimage.images import ImageSource
from internimage.inference.runner import Runner
from internimage.integrations.segment_anything import SegmentAnything
from internimage.results.detections import Detections


class MaskedPredictor(Runner):
    """A detector whose objects get masks from Segment Anything.

    Args:
        predictor: the detector; masks of its own are replaced.
        masks: see there.
        score_threshold: objects below it are left out, since each costs time.
        quality: multiply scores by the quality that the mask is expected to have, and sort by these.

    Raises:
        ConfigError: it is no detector, or the threshold is no share.
    """

    def __init__(
        self, predictor: Runner, masks: SegmentAnything, *, score_threshold: float = 0.05, quality: bool = False
    ) -> None:
        if predictor.spec.result is not Detections:
            raise ConfigError(f"masks are made from a detector's boxes; this is a {predictor.spec.model_noun}")
        if not 0 <= score_threshold <= 1:
            raise ConfigError(f"--masks-above is {score_threshold}; expected 0 to 1")
        self.spec, self.preprocessing = predictor.spec, predictor.preprocessing
        self.labels, self.category_ids = predictor.labels, predictor.category_ids
        self.palette = predictor.palette
        self.batch_size = predictor.batch_size
        self.pipeline = MaskingPipeline(predictor.pipeline, masks, score_threshold, quality)


class MaskingPipeline:
    """See :class:`internimage.contracts.Pipeline`; reads and prepares as the detector does."""

    has_masks = True

    def __init__(self, pipeline: Pipeline, masks: SegmentAnything, score_threshold: float, quality: bool) -> None:
        self.pipeline, self.masks = pipeline, masks
        self.score_threshold, self.quality = score_threshold, quality
        self.labels, self.classes = pipeline.labels, pipeline.classes
        self.read, self.prepare = pipeline.read, pipeline.prepare

    def __getattr__(self, name: str) -> Any:
        """What else the task's report asks of its pipeline."""
        if name.startswith("_") or "pipeline" not in vars(self):
            raise AttributeError(name)
        return getattr(self.pipeline, name)

    def predict(
        self, prepared: Sequence[Any], sources: Sequence[ImageSource], known: Sequence[Any]
    ) -> Iterator[Detections]:
        for result in self.pipeline.predict(prepared, sources, known):
            yield self._masked(result)

    def _masked(self, result: Detections) -> Detections:
        kept = result.filter(self.score_threshold)
        kept = replace(kept, soft_masks=None, mask_parts=None)
        if not len(kept):
            return replace(kept, bitmaps=())
        found = self.masks.boxes(self.masks.embed(kept.source.show()), kept.boxes)
        kept = replace(kept, bitmaps=found.masks)
        if not self.quality:
            return kept
        scores = (kept.scores * np.clip(found.qualities, 0, 1)).astype(np.float32)
        return replace(kept, scores=scores).part(np.argsort(-scores, kind="stable"))
