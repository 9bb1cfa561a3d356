"""A classifier without PyTorch: its graph, and what runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.contracts import Frame, Graph, PixelExport, Run, TaskExport
from internimage.data.samples import TimeAndPlace
from internimage.description import ExportedDescription, ModelDescription
from internimage.errors import ConfigError, InputSizeError
from internimage.images import ImageSource, Preprocessing
from internimage.labels import class_names
from internimage.results.classification import Classification
from internimage.settings.views import PredictionOptions

if TYPE_CHECKING:
    from internimage.images.channels import AnyImage

_NEAR = 1e-4  # probabilities that are nearer than this may change places


def graph(model: Any, frame: Frame | None = None) -> Graph:
    """Images (N, C, H, W), normalised, to logits (N, K); models that read them are given time and place."""
    import torch

    side = model.description.preprocessing.side
    config, count = model.config, 2 if frame is None else 1
    inputs = {"images": torch.zeros(count, config.backbone.in_channels, *(frame or (side, side)))}
    if config.metadata_channels is not None:
        inputs |= {"temporal": torch.zeros(count, 4), "spatial": torch.zeros(count, 3)}
    if frame is not None:
        return Graph(model, inputs, ("logits",), {})
    varying = {name: {0: "batch"} for name in inputs}
    varying["images"] |= {2: "height", 3: "width"}
    return Graph(model, inputs, ("logits",), varying)


def framed(description: ModelDescription, frame: Frame) -> ModelDescription:
    """See :class:`internimage.contracts.TaskExport`."""
    height, width = frame
    preprocessing = description.preprocessing
    assert isinstance(preprocessing, Preprocessing)
    if height != width:
        raise ConfigError(f"size is {height}x{width}; classifiers see squares, such as {height}x{height}")
    if height == preprocessing.crop:
        return description
    return replace(description, preprocessing=preprocessing.resized(height))


class ExportedClassifier:
    """See :class:`internimage.contracts.Pipeline`."""

    def __init__(self, description: ExportedDescription, run: Run, options: PredictionOptions) -> None:
        if options != PredictionOptions(depth=options.depth):
            raise ConfigError("views, windows, tiles, scores and numbers of objects are not for classifiers")
        preprocessing = description.model.preprocessing
        assert isinstance(preprocessing, Preprocessing)
        self.preprocessing = preprocessing.seen_with(options.depth)
        self.run = run
        self.frame = description.frame
        self.labels = description.model.labels
        self.classes = int(description.model.config["num_classes"])
        self.names = class_names(self.labels, self.classes)
        self.metadata = description.model.config.get("metadata_channels") is not None

    def read(self, source: ImageSource) -> AnyImage:
        return self.preprocessing.read(source)

    def prepare(self, picture: AnyImage) -> np.ndarray[Any, Any]:
        return self.preprocessing.array(picture)

    def predict(
        self,
        prepared: Sequence[np.ndarray[Any, Any]],
        sources: Sequence[ImageSource],
        known: Sequence[TimeAndPlace | None],
    ) -> list[Classification]:
        if len({image.shape for image in prepared}) != 1:
            raise InputSizeError("a batch for classification needs images of one size; preprocess with a crop")
        inputs = {"images": np.stack(prepared)}
        if self.metadata:
            told = [each or TimeAndPlace() for each in known]
            inputs["temporal"] = np.array([each.temporal() for each in told], np.float32)
            inputs["spatial"] = np.array([each.spatial() for each in told], np.float32)
        together = len(prepared) if self.frame is None else 1
        parts = [
            self.run({name: values[start : start + together] for name, values in inputs.items()})["logits"]
            for start in range(0, len(prepared), together)
        ]
        logits = np.concatenate(parts).astype(np.float32)
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        probabilities = powers / powers.sum(-1, keepdims=True)
        return [Classification(row, self.names, source) for row, source in zip(probabilities, sources, strict=True)]


def pixels(description: ModelDescription) -> PixelExport:
    """See :class:`internimage.contracts.PixelExport`."""
    if description.config.get("metadata_channels") is not None:
        raise ConfigError("the classifier reads time and place beside the picture; leave pixels out")
    names = class_names(description.labels, int(description.config["num_classes"]))

    def ending(op: Any, outputs: Mapping[str, Any], original: Any, seen: Any) -> Mapping[str, Any]:
        return {"probabilities": op.Squeeze(op.Softmax(outputs["logits"], axis=-1), [0])}

    def result(found: Mapping[str, Any], size: tuple[int, int], source: ImageSource) -> Classification:
        return Classification(found["probabilities"], names, source)

    return PixelExport(ending, result)


def differences(ours: Classification, theirs: Classification) -> Mapping[str, float]:
    """Of logits up to a constant, which the logarithms of probabilities are, and whether the best class differs."""
    first, second = (np.log(np.maximum(one.probabilities, 1e-30)) for one in (ours, theirs))
    spread = max(np.abs(first - first.max()).max(), 1e-6)
    a, b = int(ours.probabilities.argmax()), int(theirs.probabilities.argmax())
    near = bool(ours.probabilities[a] - ours.probabilities[b] < _NEAR)
    distance = float(np.abs(first - second).max() / spread)
    return {"logits, relative": distance, "another best class": a != b and not near, "near ties": a != b and near}


EXPORT = TaskExport(
    graph,
    framed,
    ExportedClassifier,
    differences,
    {"logits, relative": 1e-4, "another best class": 0.0},
    ("top1",),
    pixels,
)
