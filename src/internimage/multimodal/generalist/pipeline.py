"""From pictures to everything that a model says of them: what predictor, trainer and ``evaluate`` run alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from internimage.errors import ConfigError
from internimage.images import FitPreprocessing, ImageSource, Preprocessing
from internimage.images.channels import AnyImage
from internimage.inference.views import MakeViews, Views, preparation
from internimage.multimodal.describing.pipeline import WordsPipeline
from internimage.multimodal.generalist.data import Kind, Told
from internimage.multimodal.generalist.views import NamesView, ObjectsView
from internimage.multimodal.models.uniperceiver_v2 import UniPerceiverV2
from internimage.multimodal.results.everything import Everything
from internimage.settings.views import PredictionOptions
from internimage.tasks.classification.pipeline import ClassificationPipeline
from internimage.tasks.detection.pipeline import DetectionPipeline


@dataclass(frozen=True)
class Seen:
    """A picture as a model sees it: square, and in its own shape."""

    square: Tensor
    views: Views


@dataclass(frozen=True)
class See:
    """From a picture to :class:`Seen`; it can be pickled."""

    square: Preprocessing
    views: MakeViews

    def __call__(self, picture: AnyImage) -> Seen:
        return Seen(self.square(picture), self.views(picture))


class GeneralistPipeline:
    """See :class:`internimage.contracts.Pipeline`; ``known`` is :class:`Told` or None, for everything.

    Args:
        model: see there.
        options: of objects: test-time augmentation, how many; the depth of pixels.

    Attributes:
        words, objects, names: the pipelines of what the model has learnt; None for the rest.
    """

    def __init__(
        self,
        model: UniPerceiverV2,
        options: PredictionOptions = PredictionOptions(),  # noqa: B008
    ) -> None:
        config = model.config
        if not config.learnt:
            raise ConfigError("the model has learnt nothing yet; train it (internimage train --help)")
        fit = preparation(model, options, FitPreprocessing)
        square = model.for_words()
        plain = PredictionOptions(depth=options.depth)
        self.words = WordsPipeline(square, plain) if set(config.learnt) - {"names", "objects"} else None
        self.names = ClassificationPipeline(NamesView(square), plain) if "names" in config.learnt else None  # type: ignore[arg-type]
        self.objects = DetectionPipeline(ObjectsView(model), options) if "objects" in config.learnt else None
        if self.objects is None and options != plain:
            raise ConfigError("the model has learnt no objects; options of detectors are of no use to it")
        self.read = fit.read
        self.prepare = See(preparation(square, plain, Preprocessing), MakeViews(fit, options.augmentation))
        self.labels: tuple[str, ...] | None = config.objects or config.names
        self.classes = len(config.objects or config.names)

    def predict(
        self, prepared: Sequence[Seen], sources: Sequence[ImageSource], known: Sequence[Told | None]
    ) -> list[Everything]:
        found: dict[Kind, dict[int, Any]] = {}
        seen: dict[Kind, Any] = {"words": self.words, "objects": self.objects, "names": self.names}
        for kind, pipeline in seen.items():
            places = [place for place, one in enumerate(known) if one is None or one.kind == kind]
            if pipeline is None or not places:
                continue
            inputs = [prepared[place].views if kind == "objects" else prepared[place].square for place in places]
            told = [None if (one := known[place]) is None else one.known for place in places]
            results = pipeline.predict(inputs, [sources[place] for place in places], told)
            found[kind] = dict(zip(places, results, strict=True))
        return [
            Everything(source, *(found.get(kind, {}).get(place) for kind in ("words", "objects", "names")))
            for place, source in enumerate(sources)
        ]
